//! The handshake between the scrapes that wait for a round and the thread that runs the rounds: no
//! request and no end of a round is missed.
//!
//! A thread that misses its wake-up sleeps for ever, because time-outs do not exist under loom.
//! Loom reports that as a deadlock.

use loom::future::block_on;
use loom::sync::atomic::AtomicUsize;
use loom_tests::scrape::{Assembler, Effort, Format};
use loom_tests::wakeup::RoundWakeup;
use loom_tests::{Gateway, explore, has_line, key, put};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// Rounds that do nothing but show which scrapes have asked.
struct TinyRounds<const N_SCRAPES: usize> {
    wakeup: RoundWakeup,
    asked: [AtomicUsize; N_SCRAPES],
    shown: [AtomicUsize; N_SCRAPES],
}

/// What the assembler's thread did until all scrapes were shown.
struct DriverReport {
    n_rounds: usize,
    n_sleeps: usize,
}

impl<const N_SCRAPES: usize> TinyRounds<N_SCRAPES> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            wakeup: RoundWakeup::default(),
            asked: std::array::from_fn(|_| AtomicUsize::new(0)),
            shown: std::array::from_fn(|_| AtomicUsize::new(0)),
        })
    }

    /// Asks, and waits until a round shows it; returns how often it looked for that.
    fn scrape(&self, index: usize) -> usize {
        let n_looks = Cell::new(0);
        // Relaxed: it is the request that makes this visible to the round.
        self.asked[index].store(1, Relaxed);
        block_on(self.wakeup.wait_for_round(|| {
            n_looks.set(n_looks.get() + 1);
            self.shown[index].load(Acquire) == 1
        }));
        assert_eq!(
            self.shown[index].load(Acquire),
            1,
            "a scrape went on before it was shown"
        );
        n_looks.get()
    }

    /// What the assembler's thread does: a round for each request, until every scrape is shown.
    fn drive(&self) -> DriverReport {
        let mut report = DriverReport {
            n_rounds: 0,
            n_sleeps: 0,
        };
        let mut is_shown = [false; N_SCRAPES];
        while is_shown.contains(&false) {
            if !self.wakeup.take_request() {
                self.wakeup.sleep(Duration::MAX);
                report.n_sleeps += 1;
                continue;
            }
            for (index, is_shown) in is_shown.iter_mut().enumerate() {
                if self.asked[index].load(Relaxed) == 1 {
                    *is_shown = true;
                    self.shown[index].store(1, Release);
                }
            }
            self.wakeup.notify_shown();
            report.n_rounds += 1;
        }
        report
    }
}

/// One scrape asks while the thread is awake, about to sleep, or asleep, and its round is shown
/// before it sleeps or afterwards. Fails if the scrape wakes the thread before it raises the flag,
/// or not at all; if the flag is raised or taken Relaxed; if the scrape gets ready to be notified
/// after its request; if the thread notifies before it publishes, or a notification carries
/// nothing; or if the scrape does not look again after a notification.
#[test]
fn a_request_and_its_round_are_not_missed() {
    let outcomes = ["awake", "woken"];
    explore(4, &outcomes, || {
        let rounds = TinyRounds::<1>::new();
        let other = Arc::clone(&rounds);
        let scrape = loom::thread::spawn(move || other.scrape(0));
        let report = rounds.drive();
        let n_looks = scrape.join().unwrap();
        assert!(n_looks >= 2, "the scrape went on without a second look");
        assert_eq!(report.n_rounds, 1);
        if report.n_sleeps == 0 {
            "awake"
        } else {
            "woken"
        }
    });
}

/// Two scrapes ask at the same time. They may share a round, which then shows what both asked for.
/// Fails for the same reasons; if a scrape gets ready to be notified after its look; if the thread
/// takes the flag down after the round instead of before it; or if a scrape that gets ready after a
/// notification does not see what happened before that.
#[test]
fn scrapes_share_a_round_that_shows_what_each_asked_for() {
    let outcomes = [
        "a round for each",
        "one finds it shown",
        "one round for both",
    ];
    explore(2, &outcomes, || {
        let rounds = TinyRounds::<2>::new();
        let scrapes = [0, 1].map(|index| {
            let other = Arc::clone(&rounds);
            loom::thread::spawn(move || other.scrape(index))
        });
        let report = rounds.drive();
        let n_looks = scrapes.map(|scrape| scrape.join().unwrap());
        match report.n_rounds {
            1 if n_looks.contains(&1) => "one finds it shown",
            1 => "one round for both",
            2 => "a round for each",
            n => panic!("{n} rounds"),
        }
    });
}

/// A gateway with the handshake of its driver.
struct DrivenGateway {
    gateway: Arc<Gateway>,
    wakeup: RoundWakeup,
    is_over: AtomicUsize,
}

impl DrivenGateway {
    fn run_round(&self, assembler: &mut Assembler) {
        let on_shown = || self.wakeup.notify_shown();
        assembler.run_round(
            &self.gateway.store,
            &self.gateway.rendezvous,
            1,
            Effort::Fast,
            on_shown,
        );
    }

    /// What the assembler's thread does: a round that nobody requested, then one for each request,
    /// until the model is over.
    fn drive(&self, mut assembler: Assembler) {
        self.run_round(&mut assembler);
        while self.is_over.load(Acquire) == 0 {
            if self.wakeup.take_request() {
                self.run_round(&mut assembler);
            } else {
                self.wakeup.sleep(Duration::MAX);
            }
        }
    }
}

/// The whole way of a scrape beside a round that nobody requested: the scrape may find that round
/// complete, wait for its end, or have another one run; in each case it shows the push that was
/// answered before it. Fails if the scrapes are notified before the round has ended, if the thread
/// cannot be woken without a request, and for the reasons for which the models above fail, but for
/// the ordering of the flag: the fences of the rendezvous order more than the flag does.
#[test]
fn a_scrape_waits_until_what_was_answered_before_it_is_shown() {
    let outcomes = ["at once", "after it waited"];
    explore(2, &outcomes, || {
        let (gateway, assembler) = Gateway::new();
        assert!(put(
            &gateway.store,
            &key("job=1"),
            "a=gauge",
            1f64.to_bits()
        ));
        let driven = Arc::new(DrivenGateway {
            gateway: Arc::clone(&gateway),
            wakeup: RoundWakeup::default(),
            is_over: AtomicUsize::new(0),
        });
        let other = Arc::clone(&driven);
        let driver = loom::thread::spawn(move || other.drive(assembler));
        let asked = gateway
            .rendezvous
            .try_current(&gateway.store, Format::PLAIN, false, 1);
        let (exposition, outcome) = match asked {
            Ok(exposition) => (exposition, "at once"),
            Err(round) => {
                let is_shown = || gateway.rendezvous.has_reached(round);
                block_on(driven.wakeup.wait_for_round(is_shown));
                (gateway.rendezvous.current(false), "after it waited")
            }
        };
        assert!(
            has_line(exposition, "a{instance=\"\",job=\"1\"} 1"),
            "an answered push is missing"
        );
        driven.is_over.store(1, Release);
        driven.wakeup.wake_assembler();
        driver.join().unwrap();
        outcome
    });
}

/// What the models above rely on: a notification is not missed by a `Notified` that was created
/// before it, and carries what happened before it to one that was created before or after it. Fails
/// if one of the orderings of the stand-in is Relaxed.
#[test]
fn a_notified_is_created_before_and_after_a_notification() {
    use loom_tests::sync::Notify;
    explore(3, &["before", "after"], || {
        let (notify, value) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (other, others_value) = (Arc::clone(&notify), Arc::clone(&value));
        let notifier = loom::thread::spawn(move || {
            others_value.store(1, Relaxed);
            other.notify_waiters();
        });
        let notified = notify.notified();
        let seen = value.load(Relaxed);
        let outcome = if seen == 1 { "after" } else { "before" };
        if seen == 0 {
            block_on(notified);
            assert_eq!(value.load(Relaxed), 1, "a notification carries nothing");
        }
        notifier.join().unwrap();
        outcome
    });
}
