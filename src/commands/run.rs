//! `destrier run`: the master in the foreground, until it is told to stop.

use std::env;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::{CommandError, ExitCode};
use crate::admin::{self, Guards};
use crate::agent;
use crate::app::App;
use crate::auth::Guard;
use crate::cli::{ApplicationArg, RunArgs};
use crate::config::{
    self, AccessLog, Bind, FeedPurpose, Interface, KEYS_MAX, Log, NamedApplication, Sources,
};
use crate::interpreter::{self, Interpreter, TemplateTask};
use crate::key_files::{self, Files, MissingSecret, Secrets};
use crate::logging;
use crate::master::{
    AdminAssignment, AdminGuard, AdminSocket, AgentAssignment, Assignment, Ending, Inherited,
    Known, ListenError, Loaded, Loader, Master, Program, Purpose, RunAgent, RunTemplate, Serve,
    ServiceManager, SocketPathError, StartError, Takeover, TemplateAssignment,
};
use crate::sys::handover::read_sealed;
use crate::tokens::{DenyTable, Flush, Password};
use crate::worker::{self, Task};

/// Serves `app` as the configuration says.
pub(super) fn run<A: App>(args: &RunArgs, app: A) -> Result<ExitCode, CommandError> {
    let master = match args.resume {
        Some(number) => resume(args, app, number)?,
        None => start(args, app)?,
    };
    match master.run() {
        Ending::Stopped => Ok(ExitCode::Success),
        // The master's last log line; a terminal shall not see it twice.
        Ending::BootFailed => Ok(ExitCode::Boot),
    }
}

fn start<A: App>(args: &RunArgs, app: A) -> Result<Master, CommandError> {
    let program = Program::of_this_process();
    let manager = service_manager();
    let inherited = Inherited::take(&manager);
    let sources = sources(args)?;
    let app = Rc::new(app);
    let loaded = read(&sources, &app, Purpose::Force)?;
    start_log(&loaded.config.log)?;
    start_access_log(loaded.config.access_log.as_ref())?;
    let loader = loader(sources, app);
    Master::start(loaded, loader, &manager, inherited, program)
        .map_err(|error| cannot_start(&error))
}

/// Goes on as the master that this process was until a moment ago. Its workers wait for nothing, and would leave if this
/// failed: so what is wrong is told in the log, and done without.
fn resume<A: App>(args: &RunArgs, app: A, number: i32) -> Result<Master, CommandError> {
    let takeover =
        Takeover::receive(number).map_err(|error| CommandError::failure(error.to_string()))?;
    let loader = loader(sources(args)?, Rc::new(app));
    let generations = takeover.load(&loader);
    let log = takeover.log(&generations);
    if let Err(error) = start_log(&log) {
        start_log(&Log { file: None, ..log })?;
        tracing::error!("{error}");
    }
    if let Err(error) = start_access_log(takeover.access_log(&generations).as_ref()) {
        tracing::error!("{error}");
    }
    Master::resume(takeover, generations, loader, &service_manager())
        .map_err(|error| cannot_start(&error))
}

/// Where the configuration comes from; an upgrade is called as the master was.
pub(super) fn sources(args: &RunArgs) -> Result<Sources, CommandError> {
    Ok(Sources {
        application: args.application.clone().map(named),
        control_socket: args.control.clone(),
        reload_on_change: args.reload,
        ..super::sources(&args.config)?
    })
}

fn named(application: ApplicationArg) -> NamedApplication {
    let (interface, entry) = match application {
        ApplicationArg::Wsgi(entry) => (Interface::Wsgi, entry),
        ApplicationArg::Asgi(entry) => (Interface::Asgi, entry),
    };
    NamedApplication { interface, entry }
}

fn start_log(log: &Log) -> Result<(), CommandError> {
    logging::start(log).map_err(|error| {
        CommandError::usage(match &log.file {
            Some(path) => format!("cannot open `log.file` `{}`: {error}", path.display()),
            None => format!("cannot log to standard error: {error}"),
        })
    })
}

fn start_access_log(config: Option<&AccessLog>) -> Result<(), CommandError> {
    logging::change_access(config).map_err(|error| {
        let to = config.map(|config| config.to.to_string());
        let to = to.unwrap_or_default();
        CommandError::usage(format!("cannot open `access_log.to` `{to}`: {error}"))
    })
}

fn loader<A: App>(sources: Sources, app: Rc<A>) -> Loader {
    Box::new(move |purpose| read(&sources, &app, purpose).map_err(|error| error.message))
}

/// A service manager starts again what failed, but not what only another configuration can help.
fn cannot_start(error: &StartError) -> CommandError {
    let message = match hint(error) {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    };
    match error {
        StartError::Identity(_)
        | StartError::PidFile(..)
        | StartError::Listen(ListenError::Owner(..)) => CommandError::usage(message),
        StartError::Listen(_) | StartError::Control(_) | StartError::System(..) => {
            CommandError::failure(message)
        }
    }
}

fn hint(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Control(SocketPathError::InUse { .. }) => Some(
            "a second server beside it needs a control socket of its own: `process.control_socket`, or `--control PATH`",
        ),
        StartError::Listen(ListenError::Open(Bind::Tcp(_), error))
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            Some(
                "ports below 1024 need root, CAP_NET_BIND_SERVICE, or a socket that systemd passes",
            )
        }
        StartError::Control(_)
        | StartError::Listen(_)
        | StartError::Identity(_)
        | StartError::PidFile(..)
        | StartError::System(..) => None,
    }
}

/// One generation: the configuration, the keys it names, and what its workers shall do with them.
fn read<A: App>(
    sources: &Sources,
    app: &Rc<A>,
    purpose: Purpose<'_>,
) -> Result<Loaded, CommandError> {
    let loaded = match purpose {
        Purpose::Force | Purpose::Look => config::read(sources)?,
        Purpose::Resume(text) => config::read_again(text.clone(), sources)?,
    };
    let config::Loaded {
        config,
        warnings,
        text,
        settings,
        overridden,
    } = loaded;
    let absent = super::check::absent_folders(&config);
    if !absent.is_empty() {
        return Err(super::misconfigured(&absent));
    }
    let missing = match purpose {
        Purpose::Force | Purpose::Resume(_) => MissingSecret::Make,
        Purpose::Look => MissingSecret::StandIn,
    };
    let files = Files::on_disk();
    let (secrets, account) = Secrets::load(&files, &config, missing, None)
        .map_err(|errors| super::misconfigured(&errors))?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(account.warnings);
    let entries = entries(&config, &secrets.guard);
    // Found at each reload: what was linked anew, or stands in `app.env_file` by then, is what the next workers are.
    let interpreter = match &config.app.python {
        Some(python) => Some(Rc::new(Interpreter {
            program: interpreter::Program::find(python)
                .map_err(|errors| super::misconfigured(&errors))?,
            text: text.clone(),
            sources: sources.clone(),
            files,
        })),
        None => None,
    };
    let config = Arc::new(config);
    let read_feed = {
        let config = Arc::clone(&config);
        Rc::new(move |place, in_force| key_files::read_feed(&config, place, in_force))
    };
    let guard = |auth: config::Auth| {
        let guard = key_files::load(&auth, missing);
        let guard = guard.map_err(|errors| super::misconfigured(&errors))?;
        Ok::<_, CommandError>(Arc::new(guard))
    };
    let read = config.admin_auth().map(guard).transpose()?;
    let control = config.control_auth().map(guard).transpose()?;
    let admin_guard = read.map(|read| Rc::new(Guards { read, control }) as AdminGuard);
    let run_agent = run_agent(&config, secrets.database_password.as_ref());
    let run_template = interpreter
        .as_ref()
        .map(|interpreter| run_template(&config, secrets.clone(), Rc::clone(interpreter)));
    let serve = serve(Arc::clone(&config), secrets, interpreter, Rc::clone(app));
    Ok(Loaded {
        config,
        text,
        serve,
        warnings,
        settings,
        overridden,
        digests: account.digests,
        not_after: account.not_after,
        entries,
        read_feed,
        run_agent,
        run_template,
        admin_guard,
    })
}

/// What the template process does.
fn run_template(
    config: &Arc<config::Config>,
    secrets: Secrets,
    interpreter: Rc<Interpreter>,
) -> RunTemplate {
    let config = Arc::clone(config);
    Rc::new(move |assignment: TemplateAssignment| {
        let TemplateAssignment {
            master,
            generation,
            channel,
            scoreboard,
            replay,
            rates,
            identity,
        } = assignment;
        let task = TemplateTask {
            master,
            generation,
            config: Arc::clone(&config),
            channel,
            scoreboard,
            replay,
            rates,
            identity,
        };
        interpreter.run_template(&task, &secrets).into()
    })
}

/// How many keys or entries each feed has; those of the agent are not known yet.
fn entries(config: &config::Config, guard: &Guard) -> Vec<Option<usize>> {
    let feeds = config.feeds().into_iter();
    let entries = feeds.map(|feed| match feed.purpose {
        FeedPurpose::IssuerKeys(place) => guard.key_count(place),
        FeedPurpose::DenyList(place) => guard.deny_count(place),
        FeedPurpose::SigningKey | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => None,
    });
    entries.collect()
}

/// What the agent process does.
fn run_agent(config: &config::Config, password: Option<&Password>) -> RunAgent {
    let file = config.file.display().to_string();
    let tokens = config.auth.tokens.as_ref();
    let table = tokens.map(|tokens| DenyTable::new(tokens.clone(), password.cloned()));
    let flush = tokens.and_then(|tokens| {
        let flush = Flush::new(tokens.clone(), password.cloned());
        Some((flush, tokens.flush_interval?))
    });
    Rc::new(move |assignment: AgentAssignment| {
        let AgentAssignment {
            master,
            channel,
            feeds,
            identity,
            log,
            admin,
            hooks,
            sources,
        } = assignment;
        let feeds = feeds.into_iter();
        agent::run(agent::Task {
            master,
            channel,
            feeds: feeds
                .map(|(fetch, known)| agent::Feed {
                    fetch,
                    known: known.map(|Known { since, content }| agent::Known { since, content }),
                })
                .collect(),
            identity,
            log,
            table: table.clone(),
            flush: flush.clone(),
            hooks: hooks.map(|hooks| agent::HookSetting {
                command: hooks.on_event,
                timeout: hooks.timeout,
                config: file.clone(),
            }),
            admin: admin.and_then(admin_setting),
            sources,
        })
    })
}

/// What the agent answers monitoring with; none where what judges tokens is not what [`read`] made, which lets nobody in.
fn admin_setting(assignment: AdminAssignment) -> Option<admin::Setting> {
    let AdminAssignment {
        sockets,
        scoreboard,
        ready_min,
        events,
        owner,
        guard,
        keys,
    } = assignment;
    let guards = match &guard {
        Some(guard) => Some(guard.downcast_ref::<Guards>()?.clone()),
        None => None,
    };
    if let (Some(guards), Some(keys)) = (&guards, keys) {
        // They were judged when they were read. Where they cannot be had, those of before stay.
        let content = read_sealed(keys, KEYS_MAX);
        let content = content.map_err(|error| error.to_string());
        let all = [Some(&guards.read), guards.control.as_ref()];
        let renewed = content.and_then(|content| {
            all.into_iter().flatten().try_for_each(|guard| {
                let renewed = guard.renew_keys(0, &content, None);
                renewed.map(drop).map_err(|error| error.to_string())
            })
        });
        if let Err(reason) = renewed {
            tracing::error!(reason, "admin: cannot take the keys that have changed");
        }
    }
    let sockets = sockets.into_iter();
    Some(admin::Setting {
        sockets: sockets
            .map(|AdminSocket { is_tcp, socket }| admin::Socket { is_tcp, socket })
            .collect(),
        scoreboard,
        ready_min,
        guards,
        owner,
        events,
    })
}

fn serve<A: App>(
    config: Arc<config::Config>,
    secrets: Secrets,
    interpreter: Option<Rc<Interpreter>>,
    app: Rc<A>,
) -> Serve {
    Rc::new(move |assignment: Assignment| {
        let Assignment {
            master,
            worker,
            slot: _,
            generation,
            workers,
            channel,
            listeners,
            seat,
            replay,
            rates,
            identity,
            failure,
        } = assignment;
        let task = Task {
            master,
            worker,
            generation,
            workers,
            config: Arc::clone(&config),
            guard: Arc::clone(&secrets.guard),
            signer: secrets.signer.clone(),
            tls: secrets.tls.clone(),
            database_password: secrets.database_password.clone(),
            collector: secrets.collector.clone(),
            channel,
            listeners,
            seat,
            replay,
            rates,
            identity,
            failure,
        };
        match &interpreter {
            Some(interpreter) => interpreter.run(&task, &secrets),
            None => worker::run(task, app.as_ref()),
        }
        .into()
    })
}

fn service_manager() -> ServiceManager {
    let text = |name| env::var(name).ok();
    ServiceManager {
        notify_socket: env::var_os("NOTIFY_SOCKET"),
        listen_pid: text("LISTEN_PID"),
        listen_fds: text("LISTEN_FDS"),
        listen_fdnames: text("LISTEN_FDNAMES"),
        watchdog_usec: text("WATCHDOG_USEC"),
        watchdog_pid: text("WATCHDOG_PID"),
    }
}
