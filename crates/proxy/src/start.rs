//! Builds every part of the proxy and owns every task: a reader's map. Traffic runs on a runtime of its own; control, tap and
//! admin run on another thread's, so that a scrape or a tap never delays a request.
//!
//! Order of the end: readiness is withdrawn, listeners close, HTTP/2 peers get GOAWAY and HTTP/1 peers `connection: close`,
//! what runs may finish until the drain timeout, then everything is dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use conduit_process::admin::{self, Admin};
use conduit_process::limits;
use conduit_process::logs::LogLevel;
use conduit_process::memory;
use conduit_process::ready::Readiness;
use conduit_process::signal;
use conduit_process::tasks::Tasks;
use conduit_tls::{ClientAuth, Credentials};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::Discovery;
use crate::http::refuse::{REFUSALS_MAX, refuse};
use crate::http::trunk::bypass::ALPN_BYPASS;
use crate::inbound::{self, Inbound};
use crate::outbound::bypass::BYPASSES_MAX;
use crate::outbound::connect::{ALPN_HBONE, ALPN_HTTP1, ALPN_HTTP1_STREAMS, ALPN_HTTP2};
use crate::outbound::discover::Services;
use crate::outbound::{self, Outbound};
use crate::tap::Hub;
use crate::tcp::dial::Dialer;
use crate::tcp::listen;
use crate::telemetry::Telemetry;
use crate::{identity, tap, telemetry};

/// How often idle connections and unused destinations are looked for, and freed memory is given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The first time is sooner: most of what the start needed is not needed any more.
const FIRST_SWEEP: Duration = Duration::from_secs(2);

/// Runs the proxy until it is told to stop and has drained.
///
/// # Errors
/// When it cannot start: a port is taken, a file cannot be read, the configuration makes no sense.
pub fn run(config: Config, logs: LogLevel) -> Result<()> {
    limits::raise_open_files();
    let config = Arc::new(config);
    let traffic = traffic_runtime(config.workers)?;
    let control =
        Builder::new_current_thread().enable_all().build().context("starting the control runtime")?;
    let readiness = Readiness::new();
    let telemetry = Telemetry::new();
    let hub = Hub::new(telemetry.tapped.clone());
    let credentials = Credentials::new(config.read_trust_anchors()?)?;
    let (control_tasks, accepting, connections) = (Tasks::new(), Tasks::new(), Tasks::new());
    let draining = CancellationToken::new();

    let discovery = {
        let _control = control.enter();
        identity::start(&config, &credentials, &control_tasks, &readiness, &telemetry);
        Discovery::start(&config, &credentials, &control_tasks, &readiness, &telemetry)
    };
    let dialer = Dialer { timeout: config.connect_timeout, mark: config.socket_mark };
    let outbound = Arc::new(Outbound {
        config: config.clone(),
        dialer,
        credentials: credentials.clone(),
        services: Services::new(discovery.clone()),
        telemetry: telemetry.clone(),
        tap: hub.clone(),
        tasks: connections.clone(),
        pools: Tasks::new(),
        draining: draining.clone(),
        bypasses: Arc::new(Semaphore::new(BYPASSES_MAX)),
    });
    let inbound = Arc::new(Inbound {
        config: config.clone(),
        dialer,
        credentials: credentials.clone(),
        tls: credentials.server_config(
            ClientAuth::Required,
            &[ALPN_HTTP1_STREAMS, ALPN_HTTP1, ALPN_HTTP2, ALPN_HBONE, ALPN_BYPASS],
        ),
        discovery: discovery.clone(),
        telemetry: telemetry.clone(),
        tap: hub.clone(),
        tasks: connections.clone(),
        draining: draining.clone(),
        learned: inbound::detect::Learned::default(),
        bypasses: Arc::default(),
    });

    {
        let _control = control.enter();
        let endpoints = {
            let outbound = outbound.clone();
            Arc::new(move || outbound.describe())
        };
        let inspect = telemetry::inspect::Inspect::new(&config, &credentials, &telemetry, endpoints);
        tap::server::start(&config, &credentials, &hub, inspect, &control_tasks)?;
        telemetry::report::start(&config, &discovery, &telemetry, &credentials, &control_tasks);
        let metrics = {
            let telemetry = telemetry.clone();
            Arc::new(move || telemetry.encode())
        };
        let listener =
            listen::bind_std(config.admin_port).with_context(|| taken(config.admin_port, "admin"))?;
        admin::serve(listener, Admin { readiness: readiness.clone(), metrics, logs }, &control_tasks)?;
    }
    listen_for_traffic(&traffic, &outbound, &inbound, &accepting, &connections, &readiness)?;
    let control = run_control(control, control_tasks.clone());
    traffic.block_on(until_drained(config.drain_timeout, &readiness, &accepting, &connections, &draining));
    control_tasks.stop();
    traffic.shutdown_background();
    _ = control.join();
    Ok(())
}

fn taken(port: u16, what: &str) -> String {
    format!("listening on the {what} port {port}: is another proxy running in this network namespace?")
}

fn traffic_runtime(workers: usize) -> Result<Runtime> {
    let mut builder = if workers > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.worker_threads(workers.max(1)).enable_all().build().context("starting the traffic runtime")
}

/// The control runtime gets a thread, which ends when its tasks have.
fn run_control(control: Runtime, tasks: Tasks) -> std::thread::JoinHandle<()> {
    const LAST_WORDS: Duration = Duration::from_secs(1);
    std::thread::spawn(move || {
        control.block_on(async {
            tasks.token().cancelled().await;
            tasks.wait(LAST_WORDS).await;
        });
    })
}

fn listen_for_traffic(
    traffic: &Runtime,
    outbound: &Arc<Outbound>,
    inbound: &Arc<Inbound>,
    accepting: &Tasks,
    connections: &Tasks,
    readiness: &Readiness,
) -> Result<()> {
    let config = outbound.config.clone();
    let _traffic = traffic.enter();
    let gate = readiness.gate("listening");
    let from_app =
        listen::bind(config.outbound_port).with_context(|| taken(config.outbound_port, "outbound"))?;
    let from_mesh =
        listen::bind(config.inbound_port).with_context(|| taken(config.inbound_port, "inbound"))?;
    let limits = listen::Limits { served_max: config.connections_max, refused_max: REFUSALS_MAX };
    let refuse = {
        let (telemetry, max, patience) =
            (outbound.telemetry.clone(), config.connections_max, config.detect_timeout);
        move |socket| refuse(telemetry.clone(), socket, max, patience)
    };
    let (out, stop) = (outbound.clone(), accepting.token().clone());
    accepting.spawn(
        "outbound",
        listen::serve(
            "outbound connection",
            from_app,
            limits,
            stop,
            connections.clone(),
            move |socket, peer| outbound::accept::accept(out.clone(), socket, peer),
            refuse.clone(),
        ),
    );
    let (inb, stop) = (inbound.clone(), accepting.token().clone());
    accepting.spawn(
        "inbound",
        listen::serve(
            "inbound connection",
            from_mesh,
            limits,
            stop,
            connections.clone(),
            move |socket, peer| inbound::accept::accept(inb.clone(), socket, peer),
            refuse,
        ),
    );
    let (out, stop) = (outbound.clone(), accepting.token().clone());
    accepting.spawn("sweep", async move {
        let mut pause = FIRST_SWEEP;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {
                    pause = SWEEP_INTERVAL;
                    out.services.sweep(out.config.idle_timeout);
                    memory::trim();
                    memory::unmap_unused_code();
                }
                () = stop.cancelled() => return,
            }
        }
    });
    gate.open();
    Ok(())
}

/// Waits for the signal, then lets what runs finish.
async fn until_drained(
    drain_timeout: Duration,
    readiness: &Readiness,
    accepting: &Tasks,
    connections: &Tasks,
    draining: &CancellationToken,
) {
    let signal = signal::terminated().await;
    tracing::info!(signal, connections = connections.len(), timeout = ?drain_timeout, "draining");
    let _draining_gate = readiness.gate("draining");
    accepting.stop();
    draining.cancel();
    let left = connections.wait(drain_timeout).await;
    if left > 0 {
        tracing::warn!(left, "the drain timeout has passed: what still runs is cut off");
    }
    connections.stop();
}
