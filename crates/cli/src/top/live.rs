//! The live table's loop: keys, news from the controller and a clock for redrawing. It owns the terminal and gives it back whatever
//! happens. No number is made here.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use conduit_api::operator::v1::{Resource, StatRequest, StatResponse, StatRow, TapRequest};
use conduit_api::tap::v1::TapEvent;
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use tonic::Streaming;

use super::paths::{self, Paths};
use super::screen::{Screen, Wish};
use super::workloads;
use crate::connect::{self, Controller};
use crate::output::{Failure, Paint, Table};
use crate::{resource, stat, tap};

/// Between two drawings: fast enough for the eye, slow enough for the terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Between two questions for the statistics; they change every second.
const STAT_INTERVAL: Duration = Duration::from_secs(1);

/// What to show first.
pub(crate) enum Start {
    /// The table of workloads.
    Workloads(Resource),
    /// The requests of a resource.
    Paths(Box<TapRequest>),
}

/// Where news comes from. A question that is under way is never given up for a key.
enum Source {
    Stat(Box<Question>),
    Tap(Box<Streaming<TapEvent>>),
    Ended,
}

/// What is asked again and again.
struct Question {
    controller: Controller,
    request: StatRequest,
    /// How long until it is asked next.
    wait: Duration,
}

enum News {
    Stat(StatResponse),
    Tap(Box<TapEvent>),
    TapEnded,
}

type Pending = Pin<Box<dyn Future<Output = (Source, Result<News, Failure>)>>>;

async fn next(mut source: Source) -> (Source, Result<News, Failure>) {
    let news = match &mut source {
        Source::Stat(question) => {
            tokio::time::sleep(question.wait).await;
            question.wait = STAT_INTERVAL;
            stat::fetch(&mut question.controller, &question.request).await.map(News::Stat)
        }
        Source::Tap(events) => match events.message().await {
            Ok(Some(event)) => Ok(News::Tap(Box::new(event))),
            Ok(None) => Ok(News::TapEnded),
            Err(status) => Err(connect::refused("go on with the tap", &status)),
        },
        Source::Ended => std::future::pending().await,
    };
    (source, news)
}

/// Shows the table until the user leaves it.
///
/// # Errors
/// When the terminal cannot be used, or the controller refuses or goes away.
pub(crate) async fn run(controller: Controller, start: Start, paint: Paint) -> Result<(), Failure> {
    let mut live = Box::pin(Live::new(controller, start, paint)).await?;
    let cannot = |error: io::Error| {
        Failure::problem(
            format!("cannot use the terminal: {error}"),
            "run `conduit top --for 5s` to print once instead",
        )
    };
    let mut terminal = ratatui::try_init().map_err(cannot)?;
    let ended = Box::pin(live.until_left(&mut terminal)).await;
    ratatui::try_restore().map_err(cannot)?;
    ended
}

struct Live {
    controller: Controller,
    /// What the table of workloads shows; absent when it started with paths.
    wanted: Option<Resource>,
    /// The rows of the table of workloads, so that Enter knows what is marked.
    rows: Vec<StatRow>,
    paths: Paths,
    screen: Screen,
    pending: Pending,
    /// Something changed since the last drawing.
    changed: bool,
}

impl Live {
    async fn new(mut controller: Controller, start: Start, paint: Paint) -> Result<Self, Failure> {
        let (wanted, screen, source) = match start {
            Start::Workloads(wanted) => {
                (Some(wanted.clone()), workloads_screen(&wanted, paint), stat_source(&controller, wanted))
            }
            Start::Paths(request) => {
                let screen = paths_screen(request.resource.as_ref(), false, paint);
                (None, screen, Source::Tap(Box::new(tap::open(&mut controller, *request).await?)))
            }
        };
        let pending = Box::pin(next(source));
        let (rows, paths) = (Vec::new(), Paths::default());
        Ok(Self { controller, wanted, rows, paths, screen, pending, changed: true })
    }

    async fn until_left(&mut self, terminal: &mut ratatui::DefaultTerminal) -> Result<(), Failure> {
        let mut keys = EventStream::new();
        let mut redraw = tokio::time::interval(REDRAW_INTERVAL);
        redraw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let terminated = conduit_process::signal::terminated();
        tokio::pin!(terminated);
        loop {
            tokio::select! {
                _ = redraw.tick() => {
                    if std::mem::take(&mut self.changed) {
                        self.refresh();
                        terminal.draw(|frame| self.screen.draw(frame))?;
                    }
                }
                (source, news) = &mut self.pending => {
                    self.pending = Box::pin(next(self.take(source, news?)));
                    self.changed = true;
                }
                event = keys.next() => match event {
                    Some(Ok(Event::Key(key))) if key.kind == KeyEventKind::Press => {
                        match self.screen.key(key) {
                            Wish::Quit => return Ok(()),
                            Wish::Open => self.open().await?,
                            Wish::Back => self.back(),
                            Wish::Nothing => {}
                        }
                        terminal.draw(|frame| self.screen.draw(frame))?;
                    }
                    Some(Ok(_)) => self.changed = true,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                _ = &mut terminated => return Ok(()),
            }
        }
    }

    fn take(&mut self, source: Source, news: News) -> Source {
        match news {
            News::Stat(response) => self.rows = response.rows,
            News::Tap(event) => self.paths.apply(&event),
            News::TapEnded => {
                self.screen.note = "the tap has ended: the resource has no meshed pod any more".to_owned();
                return Source::Ended;
            }
        }
        source
    }

    fn refresh(&mut self) {
        if self.screen.opens {
            let mut table = Table::new(stat::headings());
            self.rows.iter().for_each(|row| table.row(stat::row_cells(row)));
            return self.screen.update(table);
        }
        self.screen.update(paths::table(&self.paths.rows()));
        if self.paths.dropped() > 0 {
            let (ended, dropped) = (self.paths.ended(), self.paths.dropped());
            self.screen.note =
                format!("{ended} requests counted, {dropped} events not seen: the numbers are of a sample");
        }
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let marked = self.rows.get(self.screen.selected).and_then(|row| row.resource.clone());
        let Some(marked) = marked else { return Ok(()) };
        let request = TapRequest { resource: Some(marked.clone()), ..TapRequest::default() };
        match tap::open(&mut self.controller, request).await {
            Ok(events) => {
                self.paths = Paths::default();
                self.screen = paths_screen(Some(&marked), true, self.screen.paint);
                self.pending = Box::pin(next(Source::Tap(Box::new(events))));
            }
            // A workload without a proxy cannot be tapped; that is no reason to leave the table.
            Err(failure) => self.screen.note = failure.to_string(),
        }
        self.changed = true;
        Ok(())
    }

    fn back(&mut self) {
        if let Some(wanted) = self.wanted.clone() {
            self.screen = workloads_screen(&wanted, self.screen.paint);
            self.pending = Box::pin(next(stat_source(&self.controller, wanted)));
            self.changed = true;
        }
    }
}

fn stat_source(controller: &Controller, wanted: Resource) -> Source {
    Source::Stat(Box::new(Question {
        controller: controller.clone(),
        request: workloads(wanted),
        wait: Duration::ZERO,
    }))
}

fn workloads_screen(wanted: &Resource, paint: Paint) -> Screen {
    Screen {
        title: format!("conduit top   {}   the last {}s", resource::describe(wanted), super::WINDOW_S),
        note: String::new(),
        table: Table::new(stat::headings()),
        selected: 0,
        opens: true,
        back: false,
        paint,
    }
}

fn paths_screen(wanted: Option<&Resource>, back: bool, paint: Paint) -> Screen {
    let wanted = wanted.map(resource::describe).unwrap_or_default();
    Screen {
        title: format!("conduit top   {wanted}   requests by path"),
        note: String::new(),
        table: paths::table(&[]),
        selected: 0,
        opens: false,
        back,
        paint,
    }
}
