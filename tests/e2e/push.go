// Pushes to the gateway at URL with the Prometheus client for Go: replaces, adds to and deletes groups. Usage: push URL
package main

import (
	"log"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
)

func main() {
	url := os.Args[1]
	success := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_client_last_success", Help: "Last time."})
	success.Set(7.5)
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "go_client_seconds", Help: "Time."})
	seconds.Observe(0.3)
	added := prometheus.NewCounter(prometheus.CounterOpts{Name: "go_client_added_total", Help: "Added."})
	added.Inc()

	must(push.New(url, "golang").Collector(success).Collector(seconds).Grouping("path", "/var/tmp").Push())
	must(push.New(url, "golang").Collector(added).Grouping("path", "/var/tmp").Add())
	must(push.New(url, "golang_gone").Collector(success).Push())
	must(push.New(url, "golang_gone").Delete())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
