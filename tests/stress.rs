//! Many clients at the same time: consistency of scrapes, reasons of refusals, no lost groups.

mod common;

use common::{Client, Gateway, gunzip};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const N_CLIENTS: usize = 16;

/// A group that several clients push to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Group {
    /// The only group of its job.
    Plain(usize),
    /// `job="mix"`: exposes series with the label `l`, as `MixedWith` groups do.
    Mixed,
    /// `job="mix",l="<n>"`.
    MixedWith(usize),
}

impl Group {
    fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(..10) {
            0..7 => Self::Plain(random.usize(..6)),
            7 => Self::Mixed,
            _ => Self::MixedWith(random.usize(..2)),
        }
    }

    fn path(self) -> String {
        match self {
            Self::Plain(n) => format!("/metrics/job/plain{n}"),
            Self::Mixed => "/metrics/job/mix".to_owned(),
            Self::MixedWith(n) => format!("/metrics/job/mix/l/{n}"),
        }
    }

    /// The grouping labels as they are exposed.
    fn labels(self) -> String {
        match self {
            Self::Plain(n) => format!("instance=\"\",job=\"plain{n}\""),
            Self::Mixed => "instance=\"\",job=\"mix\"".to_owned(),
            Self::MixedWith(n) => format!("instance=\"\",job=\"mix\",l=\"{n}\""),
        }
    }
}

/// What a push brings beside the number that identifies it: families with their types, and series
/// as they are exposed.
#[derive(Clone, Default, Debug)]
struct Content {
    types: HashMap<usize, &'static str>,
    series: HashSet<String>,
}

impl Content {
    fn random(group: Group, random: &mut fastrand::Rng) -> Self {
        let mut content = Self::default();
        for family in 0..3 {
            if random.u8(..3) == 0 {
                content
                    .types
                    .insert(family, if random.bool() { "gauge" } else { "counter" });
            }
        }
        match group {
            Group::Mixed if random.bool() => {
                content.series.insert(format!(
                    "shared{{{}}}",
                    Group::MixedWith(random.usize(..2)).labels()
                ));
            }
            Group::MixedWith(_) if random.bool() => {
                content
                    .series
                    .insert(format!("shared{{{}}}", group.labels()));
            }
            _ => {}
        }
        content
    }

    fn body(&self, id: usize) -> String {
        let mut body = format!("id {id}\n");
        for (family, metric_type) in &self.types {
            body += &format!("# TYPE c{family} {metric_type}\nc{family} 1\n");
        }
        for series in &self.series {
            let label = series
                .split("l=")
                .nth(1)
                .expect("a label")
                .trim_end_matches('}');
            body += &format!("shared{{l={label}}} 1\n");
        }
        body
    }

    fn contradicts(&self, other: &Self) -> bool {
        let types = self
            .types
            .iter()
            .any(|(family, metric_type)| other.types.get(family).is_some_and(|t| t != metric_type));
        types || !self.series.is_disjoint(&other.series)
    }
}

#[derive(Debug)]
struct Operation {
    group: Group,
    began: Instant,
    ended: Instant,
    /// `None` for a deletion.
    push: Option<(usize, Content)>,
    is_accepted: bool,
}

struct Scrape {
    began: Instant,
    text: String,
}

/// Clients push to the same groups, contradict each other, use several shapes of keys in one job,
/// and delete groups, while another client scrapes.
#[test]
fn every_scrape_is_consistent_and_every_refusal_has_a_reason() {
    let gateway = Gateway::start();
    /// At least this many operations of each client, and at most ten times as many until there are
    /// [`N_SCRAPES`]: on a busy machine the scraper seldom has its turn.
    const N_OPERATIONS: usize = 300;
    const N_SCRAPES: usize = 12;
    let (next_id, is_over) = (AtomicUsize::new(1), AtomicBool::new(false));
    let n_scrapes = AtomicUsize::new(0);
    let (history, scrapes) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..N_CLIENTS)
            .map(|seed| {
                let (gateway, next_id, n_scrapes) = (&gateway, &next_id, &n_scrapes);
                scope.spawn(move || {
                    // Relaxed: only says when the test has seen enough.
                    let is_enough = || n_scrapes.load(Relaxed) >= N_SCRAPES;
                    let mut random = fastrand::Rng::with_seed(seed as u64);
                    let mut client = Client::new(gateway);
                    (0..10 * N_OPERATIONS)
                        .take_while(|n| *n < N_OPERATIONS || !is_enough())
                        .map(|_| operate(&mut client, &mut random, next_id))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let (gateway, is_over, n_scrapes) = (&gateway, &is_over, &n_scrapes);
        let scraper = scope.spawn(move || {
            let (mut scrapes, mut client) = (Vec::new(), Client::new(gateway));
            while !is_over.load(Relaxed) {
                // Relaxed: see above.
                n_scrapes.fetch_add(1, Relaxed);
                let began = Instant::now();
                scrapes.push(Scrape {
                    began,
                    text: client.request("GET", "/metrics", &[], b"").text(),
                });
            }
            let began = Instant::now();
            scrapes.push(Scrape {
                began,
                text: client.request("GET", "/metrics", &[], b"").text(),
            });
            scrapes
        });
        let history: Vec<Operation> = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        is_over.store(true, Relaxed);
        (history, scraper.join().unwrap())
    });
    scrapes
        .iter()
        .for_each(|scrape| check_scrape(scrape, &history));
    check_refusals(&history);
    let n_refused = history
        .iter()
        .filter(|operation| !operation.is_accepted)
        .count();
    println!(
        "{} operations, {n_refused} refused, {} scrapes",
        history.len(),
        scrapes.len()
    );
    assert!(n_refused > 100 && scrapes.len() > 10, "too little happened");
}

fn operate(client: &mut Client, random: &mut fastrand::Rng, next_id: &AtomicUsize) -> Operation {
    let group = Group::random(random);
    let push = (random.u8(..5) > 0).then(|| {
        (
            next_id.fetch_add(1, Relaxed),
            Content::random(group, random),
        )
    });
    let began = Instant::now();
    let status = match &push {
        Some((id, content)) => {
            client
                .request("PUT", &group.path(), &[], content.body(*id).as_bytes())
                .status
        }
        None => client.request("DELETE", &group.path(), &[], b"").status,
    };
    assert!(matches!(status, 200 | 202 | 400), "{status}");
    Operation {
        group,
        began,
        ended: Instant::now(),
        push,
        is_accepted: status != 400,
    }
}

/// The scrape is valid text, and shows for each group a state that is not older than any push or
/// deletion that was answered before the scrape began.
fn check_scrape(scrape: &Scrape, history: &[Operation]) {
    let families = pushgateway::exposition::text::parse(
        scrape.text.as_bytes(),
        pushgateway::model::NameScheme::Legacy,
    );
    assert!(families.is_ok(), "{:?}", families.err());
    let (mut types, mut series, mut ids) = (HashSet::new(), HashSet::new(), HashMap::new());
    for line in scrape.text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            assert!(
                types.insert(header.split(' ').next().unwrap()),
                "a family stands twice: {line}"
            );
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(series.insert(name), "a series stands twice: {line}");
            if let Some(labels) = name.strip_prefix("id{") {
                ids.insert(
                    labels.trim_end_matches('}'),
                    value.parse::<usize>().expect("an id"),
                );
            }
        }
    }
    let by_group = |group: Group| {
        history
            .iter()
            .filter(move |operation| operation.group == group && operation.is_accepted)
    };
    let groups: HashSet<Group> = history.iter().map(|operation| operation.group).collect();
    for group in groups {
        let shown = ids.get(group.labels().as_str());
        let of_shown = by_group(group).find(|operation| {
            operation.push.as_ref().map(|(id, _)| id) == shown && shown.is_some()
        });
        assert_eq!(
            shown.is_some(),
            of_shown.is_some(),
            "{group:?} shows what was not accepted"
        );
        let answered = by_group(group).filter(|operation| operation.ended < scrape.began);
        match of_shown {
            Some(of_shown) => {
                for later in answered {
                    assert!(
                        later.began < of_shown.ended,
                        "{group:?} shows {of_shown:?} after {later:?} was answered"
                    );
                }
            }
            // No group is shown: either nothing was answered, or a deletion may be the last.
            None => {
                let last = answered.max_by_key(|operation| operation.ended);
                let is_deleted = |last: &Operation| {
                    by_group(group)
                        .any(|operation| operation.push.is_none() && operation.ended > last.began)
                };
                assert!(
                    last.is_none_or(is_deleted),
                    "{group:?} is missing, though {last:?} was answered"
                );
            }
        }
    }
}

/// For every refused push there is an accepted one that contradicts it, and that may have been in
/// effect while the refused one was judged.
fn check_refusals(history: &[Operation]) {
    for refused in history.iter().filter(|operation| !operation.is_accepted) {
        let (_, content) = refused.push.as_ref().expect("deletes are never refused");
        let is_reason = |other: &&Operation| {
            let contradicts = other
                .push
                .as_ref()
                .is_some_and(|(_, theirs)| theirs.contradicts(content));
            contradicts
                && other.is_accepted
                && other.group != refused.group
                && other.began < refused.ended
        };
        let was_over = |reason: &Operation| {
            history.iter().any(|operation| {
                let same_group = operation.group == reason.group && operation.is_accepted;
                same_group && operation.began > reason.ended && operation.ended < refused.began
            })
        };
        let has_reason = history
            .iter()
            .filter(is_reason)
            .any(|reason| !was_over(reason));
        assert!(has_reason, "nothing contradicts {refused:?}");
    }
}

/// A slot without a group is retired after a round has taken it. A push to the slot at that moment
/// must not be lost.
#[test]
fn groups_that_are_deleted_and_made_again_are_all_there() {
    const N_GROUPS: usize = 10_000;
    let gateway = Gateway::start();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..N_CLIENTS)
            .map(|first| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let mut client = Client::new(gateway);
                    for group in (first..N_GROUPS).step_by(N_CLIENTS) {
                        let path = format!("/metrics/job/j/instance/{group}");
                        assert_eq!(client.request("PUT", &path, &[], b"x 1\n").status, 200);
                        assert_eq!(client.request("DELETE", &path, &[], b"").status, 202);
                        assert_eq!(client.request("PUT", &path, &[], b"x 2\ny 2\n").status, 200);
                    }
                })
            })
            .collect();
        let (gateway, is_over) = (&gateway, &is_over);
        scope.spawn(move || {
            let mut client = Client::new(gateway);
            while !is_over.load(Relaxed) {
                assert_eq!(client.request("GET", "/metrics", &[], b"").status, 200);
            }
        });
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        is_over.store(true, Relaxed);
    });
    let scrape = gateway.scrape();
    let shown = |name: &str| {
        scrape
            .lines()
            .filter(|line| line.starts_with(name) && line.ends_with(" 2"))
            .count()
    };
    assert_eq!((shown("x{"), shown("y{")), (N_GROUPS, N_GROUPS));
    assert!(scrape.contains(&format!("pushgateway_groups {}\n", "10000")));
    // Counted by pushes and deletions, not by a look at all groups.
    let status = gateway.request("GET", "/", &[], b"").text();
    assert!(status.contains("10000 groups"), "{status}");
}

/// One client pushes to two groups in turn. No scrape shows the second group ahead of the first
/// one, or the first one two pushes ahead.
#[test]
fn every_scrape_shows_all_groups_at_one_moment() {
    let gateway = Gateway::start();
    // Many families between the two, so that these are far apart in the exposition.
    for n in 0..200 {
        assert_eq!(
            gateway
                .put(
                    &format!("/metrics/job/between{n}"),
                    &format!("m{n:03} {}\n", "1".repeat(300 % 17))
                )
                .status,
            200
        );
    }
    /// At least this many pushes and scrapes of each kind.
    const N_PUSHES: usize = 3000;
    const N_SCRAPES: usize = 10;
    let is_over = AtomicBool::new(false);
    let n_scrapes = [AtomicUsize::new(0), AtomicUsize::new(0)];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::new(&gateway);
            // Relaxed: only says when the test has seen enough.
            let is_enough = || n_scrapes.iter().all(|n| n.load(Relaxed) >= N_SCRAPES);
            for n in (1..100 * N_PUSHES).take_while(|n| *n <= N_PUSHES || !is_enough()) {
                for (group, family) in [("first", "a"), ("second", "z")] {
                    let body = format!("{family} {n}\n");
                    assert_eq!(
                        client
                            .request(
                                "PUT",
                                &format!("/metrics/job/{group}"),
                                &[],
                                body.as_bytes()
                            )
                            .status,
                        200
                    );
                }
            }
            // Relaxed: only tells the other threads to end.
            is_over.store(true, Relaxed);
        });
        for (accept, n_scrapes) in ["", "gzip"].into_iter().zip(&n_scrapes) {
            let (gateway, is_over) = (&gateway, &is_over);
            scope.spawn(move || {
                let mut client = Client::new(gateway);
                while !is_over.load(Relaxed) {
                    let response =
                        client.request("GET", "/metrics", &[("Accept-Encoding", accept)], b"");
                    let text = if accept.is_empty() {
                        response.text()
                    } else {
                        String::from_utf8(gunzip(&response.body)).unwrap()
                    };
                    let value = |family: &str| -> usize {
                        let line = text
                            .lines()
                            .find(|line| line.starts_with(&format!("{family}{{")));
                        line.map_or(0, |line| {
                            line.rsplit_once(' ')
                                .expect("a value")
                                .1
                                .parse()
                                .expect("a number")
                        })
                    };
                    let (first, second) = (value("a"), value("z"));
                    assert!(
                        first == second || first == second + 1,
                        "{first} in the first, {second} in the second"
                    );
                    // Relaxed: see above.
                    n_scrapes.fetch_add(1, Relaxed);
                }
            });
        }
    });
}
