//! What processes beside the workers hold and spend is told, and nobody wakes up for it.

use crate::admin::{monitored, scrape};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, python};

/// The value of a series, which must be there.
#[track_caller]
fn value(server: &Server, series: &str) -> u64 {
    let metrics = scrape(server);
    let found = metrics.get(series);
    *found.unwrap_or_else(|| panic!("{series} is not in {metrics:?}"))
}

#[test]
fn memory_and_processor_time_of_master_and_agent_are_told() {
    let server = monitored(Setup::new()).start();
    for process in ["master", "agent"] {
        let of = |name: &str| {
            let series = format!("destrier_process_{name}{{process=\"{process}\"}}");
            value(&server, &series)
        };
        let (rss, pss) = (of("resident_memory_bytes"), of("proportional_memory_bytes"));
        assert!(pss > 0 && pss <= rss, "{process}: {pss} of {rss}");
        // A few ticks, so that its whole seconds are none.
        assert_eq!(of("cpu_seconds_total"), 0);
    }
    let told = server.until("the agent", |status| {
        let agent = status.agent.as_ref()?;
        Some((status.memory.clone()?, agent.pid?, agent.rss?))
    });
    let (memory, agent, rss) = told;
    assert!(memory.pss.unwrap() <= memory.rss);
    let size = os::status_size(agent, "VmRSS");
    assert!(rss.abs_diff(size) < rss / 2, "{rss} {size}");
}

#[test]
fn memory_of_a_template_is_told_with_its_generation() {
    let server = monitored(python::setup()).set("app.preload", true).start();
    let series = "destrier_process_resident_memory_bytes{process=\"template\",generation=\"1\"}";
    assert!(value(&server, series) > 1 << 20);
    server.reload();
    eventually("that of the next generation alone", || {
        let metrics = scrape(&server);
        let old = metrics.contains_key(series);
        let new = metrics.contains_key(&series.replace("\"1\"", "\"2\""));
        (!old && new).then_some(())
    });
}
