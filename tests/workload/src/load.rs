//! A bounded load of new connections at a steady rate. Enters: a target, a rate, a duration. Leaves: one line a
//! second, and a last line `total ok=N failed=N longest-ms=N`; it stops by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::Args;
use crate::call::{addresses, request};

/// The most a run may last, whatever was asked: a forgotten load ends.
const MAX_SECONDS: u64 = 600;
const WORKERS: usize = 16;

#[derive(Default)]
struct Counters {
    ok: AtomicU64,
    failed: AtomicU64,
    longest_ms: AtomicU64,
}

/// Opens `--rate` connections each second for `--seconds`; fails when any connection failed.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let target = addresses(args.positional(0, "HOST:PORT")?)?[0];
    let rate = args.number("rate", 200)?.clamp(1, 5000);
    let seconds = args.number("seconds", 10)?.min(MAX_SECONDS);
    let counters = Arc::new(Counters::default());
    let (ticket, tickets) = mpsc::channel::<()>();
    let tickets = Arc::new(std::sync::Mutex::new(tickets));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (tickets, counters) = (tickets.clone(), counters.clone());
            std::thread::spawn(move || {
                while let Some(()) = tickets.lock().ok().and_then(|queue| queue.recv().ok()) {
                    one(&target, &counters);
                }
            })
        })
        .collect();
    println!("load target={target} rate={rate} seconds={seconds}");
    let start = Instant::now();
    for index in 0..rate * seconds {
        let due = start + Duration::from_micros(index * 1_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        ticket.send(()).map_err(|error| error.to_string())?;
        if (index + 1) % rate == 0 {
            report("second", &counters);
        }
    }
    drop(ticket);
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked".to_owned())?;
    }
    report("total", &counters);
    match counters.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => Err(format!("{failed} connections failed")),
    }
}

fn one(target: &std::net::SocketAddr, counters: &Counters) {
    let start = Instant::now();
    match request(target, Duration::from_secs(5)) {
        Ok(_) => counters.ok.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            println!("failed after {} ms: {error}", start.elapsed().as_millis());
            counters.failed.fetch_add(1, Ordering::Relaxed)
        }
    };
    counters.longest_ms.fetch_max(start.elapsed().as_millis() as u64, Ordering::Relaxed);
}

fn report(what: &str, counters: &Counters) {
    println!(
        "{what} ok={} failed={} longest-ms={}",
        counters.ok.load(Ordering::Relaxed),
        counters.failed.load(Ordering::Relaxed),
        counters.longest_ms.load(Ordering::Relaxed)
    );
}
