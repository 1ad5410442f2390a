// Pushes to the gateway at URL with the Node client prom-client: replaces, adds to and deletes groups, all over one kept
// connection. Usage: node push.js URL

const http = require('http');
const client = require('prom-client');

async function main() {
  const registry = new client.Registry();
  new client.Gauge({ name: 'node_last_success', help: 'Last time.', registers: [registry] }).set(7.5);
  const added = new client.Registry();
  new client.Counter({ name: 'node_added_total', help: 'Added.', labelNames: ['l'], registers: [added] }).inc({ l: 'x' }, 2);

  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const push = (from) => new client.Pushgateway(process.argv[2], { agent, timeout: 10000 }, from);
  await push(registry).push({ jobName: 'node', groupings: { kind: 'a b' } });
  await push(added).pushAdd({ jobName: 'node', groupings: { kind: 'a b' } });
  await push(registry).push({ jobName: 'node_gone' });
  await push(registry).delete({ jobName: 'node_gone' });
  agent.destroy();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
