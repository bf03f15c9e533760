//! The command line.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::{path::PathBuf, time::Duration};
use wardline_server::{
    auth::NewToken,
    config::{Config, ConfigError, SETTINGS, Settings, Source},
};

/// Builds the parser: a flag for every setting.
pub(crate) fn command() -> Command {
    let settings = || {
        SETTINGS.iter().map(|setting| {
            // Once per process, and clap wants them for as long.
            let long: &'static str = setting.name.replace('_', "-").leak();
            let help: &'static str =
                format!("{} ({})", setting.help, setting.env.join(", ")).leak();
            Arg::new(setting.name)
                .long(long)
                .value_name("VALUE")
                .help(help)
                .num_args(1)
                .allow_hyphen_values(true)
        })
    };
    let config = || {
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("TOML file of settings; the environment and flags win over it")
    };
    Command::new("wardline-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Wardline reference server")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("serve")
                .about("Serve until SIGTERM or SIGINT, then drain")
                .arg(
                    Arg::new("dev")
                        .long("dev")
                        .action(ArgAction::SetTrue)
                        .help("Make a secret, listen on this machine only, print a token to try"),
                )
                .arg(
                    Arg::new("ready-file")
                        .long("ready-file")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("Write the address here once listening"),
                )
                .arg(config())
                .args(settings()),
        )
        .subcommand(
            Command::new("check-config")
                .about("Check the configuration and say what is wrong")
                .arg(config())
                .args(settings()),
        )
        .subcommand(
            Command::new("token")
                .about("Sign a token with JWT_SECRET")
                .arg(Arg::new("tenant").long("tenant").required(true))
                .arg(Arg::new("user").long("user").required(true))
                .arg(Arg::new("org").long("org"))
                .arg(Arg::new("role").long("role").action(ArgAction::Append))
                .arg(
                    Arg::new("ttl")
                        .long("ttl")
                        .value_name("SECONDS")
                        .value_parser(value_parser!(u64))
                        .help("0: for ever [3600]"),
                )
                .arg(config())
                .args(settings()),
        )
}

/// Gathers the settings: flags, then environment, then file.
pub(crate) fn settings(matches: &ArgMatches) -> Result<Settings, ConfigError> {
    let mut settings = Settings::new();
    for setting in SETTINGS {
        if let Some(value) = matches.get_one::<String>(setting.name) {
            settings.set(setting.name, value, Source::Flag)?;
        }
    }
    settings.add_env(|name| std::env::var(name).ok());
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        settings.add_file(path)?;
    }
    Ok(settings)
}

/// The token the command line describes.
pub(crate) fn token(matches: &ArgMatches) -> NewToken {
    let text = |name| matches.get_one::<String>(name).cloned();
    let ttl = matches.get_one::<u64>("ttl").copied().unwrap_or(3600);
    NewToken {
        tenant: text("tenant").unwrap_or_default(),
        user: text("user").unwrap_or_default(),
        organization: text("org"),
        roles: matches.get_many::<String>("role").unwrap_or_default().cloned().collect(),
        life: (ttl > 0).then(|| Duration::from_secs(ttl)),
    }
}

/// Settings of `serve --dev`, where nothing else was said: only this machine, a secret of its own.
pub(crate) fn dev(settings: &mut Settings) -> Result<(), ConfigError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| ConfigError(format!("no randomness for a secret: {error}")))?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    settings.set_default("jwt_secret", secret, Source::Program)?;
    settings.set_default("host", "127.0.0.1", Source::Program)
}

/// What `check-config` says of a good configuration. Holds no secret.
pub(crate) fn describe(config: &Config) -> String {
    format!(
        "the configuration is good: {:?}, {}:{}{}, tokens {}, log {:?}, {} shard(s), origins {:?}, \
         namespaces of its own {:?}",
        config.environment,
        config.host,
        config.port,
        if config.tls.is_some() { " with TLS" } else { "" },
        config.token.algorithm,
        config.log,
        config.shards,
        config.origins,
        config.namespaces.keys().collect::<Vec<_>>()
    )
}
