//! `--help` teaches, and what is typed wrongly is answered with what could have been meant.

use insta::assert_snapshot;

use crate::place::Place;

#[test]
fn help_of_the_program() {
    assert_snapshot!(Place::new().run("--help"), @r#"
    exit 0
    --- stdout
    Serves applications behind verified JSON Web Tokens: a master process that supervises workers

    Usage: destrier <COMMAND>

    Commands:
      run      Start the master in the foreground and serve until told to stop
      check    Check the configuration and the files it names; shows every error
      status   Show what runs now
      top      Show what runs now, live, in this terminal
      plan     Show what a reload would change, and change nothing; exits 0 when that is nothing, 2 when
               it is something
      reload   Put the configuration on disk into force; exits non-zero, with the reason, when the old
               one stays
      upgrade  Go on as a new program without a restart: the same process id, no request lost
      scale    Change the number of workers until the next reload
      stop     Stop the master and its workers; requests in flight are finished
      reopen   Open the log files anew, after they were rotated
      config   The configuration: what is in force and what may be written
      auth     Who may pass: try the rules of the configuration
      token    Tokens: issue, verify, inspect
      key      Keys that sign tokens
      tls      Certificates of the server
      user     Users of the token service: add, list, passwd, disable, enable, remove
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Start:       destrier check && destrier run
    Operate:     destrier status; destrier plan; destrier reload; destrier upgrade; destrier stop
    Try a token: destrier token issue --sub alice | destrier token verify

    Every key of a section of the configuration is also an environment variable:
    DESTRIER_WORKERS__COUNT=4 is `count` in [workers]. `destrier config show` tells what is in force and
    where it came from.

    Exit codes: 0 stopped or done as asked, 1 failed, 2 wrong usage or configuration, 3 the application
    failed to boot.
    "#);
}

#[test]
fn help_of_run() {
    assert_snapshot!(Place::new().run("run --help"), @r#"
    exit 0
    --- stdout
    Start the master in the foreground and serve until told to stop

    Usage: destrier run [OPTIONS] [APPLICATION]

    Arguments:
      [APPLICATION]  Serve this Python application, as `wsgi:MODULE:ATTRIBUTE` or
                     `asgi:MODULE:ATTRIBUTE`, instead of `app.wsgi` or `app.asgi`; needs no
                     configuration file: without one every request may pass

    Options:
      -c, --config <FILE>      The configuration file [default: destrier.toml here, else
                               /etc/destrier/destrier.toml]
      -b, --bind <ADDRESS>     Listen here instead of `server.bind`: HOST:PORT, unix:PATH, fd:N,
                               systemd:NAME; may be given several times
      -w, --workers <N>        Instead of `workers.count`: a number or auto
          --log-level <LEVEL>  Instead of `log.level`: error, warn, info, debug, trace
          --reload             For development: a change of a source file of the Python application is a
                               reload, and a page shows the traceback of one that cannot be loaded
                               (`app.reload_on_change`)
          --control <PATH>     Listen for commands here instead of `process.control_socket`
      -h, --help               Print help
      -V, --version            Print version

    Examples:
      destrier run -c /etc/mysite/destrier.toml
      destrier run wsgi:mysite.wsgi:application --bind 127.0.0.1:8000
      destrier run asgi:app.main:app --bind 127.0.0.1:8000
      destrier run asgi:app.main:app --reload        while it is written

    Signals: TERM stops when the requests in flight are done, INT and QUIT at once, HUP reloads, USR2
    upgrades, USR1 opens the log anew.

    The configuration may be written as `destrier config schema` says; `destrier check` finds every
    mistake in it.
    "#);
}

#[test]
fn help_of_what_asks_the_master() {
    let place = Place::new();
    assert_snapshot!(place.run("status --help"), @r#"
    exit 0
    --- stdout
    Show what runs now

    Usage: destrier status [OPTIONS]

    Options:
      -c, --config <FILE>      The configuration file it runs with [default: destrier.toml here, else
                               none, as `destrier run wsgi:…` does in this folder, else
                               /etc/destrier/destrier.toml]
          --control <PATH>     Its control socket, whatever its configuration
          --json               As JSON
          --stacks             What every thread of every Python worker does now
          --watch[=<SECONDS>]  Again and again, every so many seconds, until interrupted [default: 2]
          --schema             The JSON Schema of the JSON instead; no master is asked
      -h, --help               Print help
      -V, --version            Print version

    Examples:
      destrier status --watch                        again every 2 seconds
      destrier status --json --watch=5               a line of JSON every 5 seconds
      destrier status --json | jq .workers[].state

    Fields of the JSON are only ever added; its `schema_version` is raised when one goes.
    "#);
    assert_snapshot!(place.run("upgrade --help"), @r#"
    exit 0
    --- stdout
    Go on as a new program without a restart: the same process id, no request lost

    Usage: destrier upgrade [OPTIONS]

    Options:
      -c, --config <FILE>   The configuration file it runs with [default: destrier.toml here, else none,
                            as `destrier run wsgi:…` does in this folder, else
                            /etc/destrier/destrier.toml]
          --control <PATH>  Its control socket, whatever its configuration
          --binary <PATH>   The program to go on as [default: the file that the master was started from,
                            as it is now]
      -h, --help            Print help
      -V, --version         Print version

    Examples:
      destrier upgrade                               the file was replaced or its link moved
      destrier upgrade --binary /opt/new/destrier    another file

    The new program is asked first: it reads the configuration, the keys and the state of the master.
    When it cannot go on, everything stays as it is and the reason is told. Else the master becomes it,
    with the same process id, listeners, connections and workers, and a reload replaces the workers. No
    request is lost.

    Exit codes: 0 the workers of the new program serve, 1 they do not, and the reason says which program
    is the master.
    "#);
    assert_snapshot!(place.run("scale --help"), @r#"
    exit 0
    --- stdout
    Change the number of workers until the next reload

    Usage: destrier scale [OPTIONS] <WORKERS>

    Arguments:
      <WORKERS>  How many shall serve, 1 to 512

    Options:
      -c, --config <FILE>   The configuration file it runs with [default: destrier.toml here, else none,
                            as `destrier run wsgi:…` does in this folder, else
                            /etc/destrier/destrier.toml]
          --control <PATH>  Its control socket, whatever its configuration
      -h, --help            Print help
      -V, --version         Print version
    "#);
    assert_snapshot!(place.run("stop --help"), @r#"
    exit 0
    --- stdout
    Stop the master and its workers; requests in flight are finished

    Usage: destrier stop [OPTIONS]

    Options:
      -c, --config <FILE>   The configuration file it runs with [default: destrier.toml here, else none,
                            as `destrier run wsgi:…` does in this folder, else
                            /etc/destrier/destrier.toml]
          --control <PATH>  Its control socket, whatever its configuration
          --fast            Do not wait for requests in flight
      -h, --help            Print help
      -V, --version         Print version
    "#);
}

#[test]
fn help_of_token() {
    let place = Place::new();
    assert_snapshot!(place.run("token issue --help"), @r#"
    exit 0
    --- stdout
    Sign a token with the key of an issuer of the configuration, or with a key file

    Usage: destrier token issue [OPTIONS] --sub <NAME>

    Options:
      -c, --config <FILE>       The configuration that names the issuers [default: as for run]
          --issuer <NAME>       The issuer in whose name it is signed [default: the first that has a
                                secret]
          --key <FILE>          Sign with the private key (PEM or JWK) or the secret in this file;
                                alone, or as --issuer
          --alg <ALG>           The algorithm [default: what the key is made for]
          --sub <NAME>          The subject (`sub`)
          --scope <NAME>        A scope to grant; may be given several times
          --ttl <DURATION>      How long it is valid, as in 5m or 1h [default: 5m]
          --audience <NAME>     The audience (`aud`); may be given several times [default: the issuer's]
          --claim <NAME=VALUE>  One more claim; the value is JSON, or text when it is not; may be given
                                several times
          --kid <ID>            The `kid` header
      -h, --help                Print help
      -V, --version             Print version

    Examples:
      destrier token issue --sub alice --scope admin
      destrier token issue --sub alice --key private.pem --audience api --claim 'roles=["ops"]'
      destrier token issue --sub alice --issuer login --key login.private.pem
    "#);
    assert_snapshot!(place.run("token verify --help"), @r#"
    exit 0
    --- stdout
    Check a token exactly as a worker would; exits 0 when it is valid, 1 when not, and says why

    Usage: destrier token verify [OPTIONS]

    Options:
      -c, --config <FILE>       Use the issuers of this configuration [default when no key is named: as
                                for run]
          --jwks <FILE>         The file of a JWK or JWK set
          --public-key <FILE>   The file of a public key or certificate in PEM
          --secret <FILE>       The file of a shared secret
          --alg <LIST>          Algorithms that are accepted, separated by commas [default: what each
                                key is made for]
          --token-file <FILE>   The file that holds the token; `-` is standard input [default: -]
          --leeway <DURATION>   Clock difference that is forgiven, as in 30s, up to 10m; a bare number
                                is seconds
          --issuer <NAME>       The `iss` it must carry
          --audience <NAME>     An `aud` that is accepted; may be given several times
          --require <NAME>      A claim that must be present; may be given several times
          --typ <TYPE>          A `typ` header that is accepted; may be given several times
          --offline             Fetch nothing: an issuer whose keys must be fetched cannot judge then
          --claim <NAME=VALUE>  A claim that must have this value, JSON or else text: `a=42` is the
                                number, `a='"42"'` the text; may be given several times
      -h, --help                Print help
      -V, --version             Print version

    Examples:
      destrier token verify <token.txt
      destrier token verify --jwks keys.json --alg ES256,EdDSA --issuer https://login.example --audience
      api <token.txt

    Without a key on the command line the issuers of the configuration judge, each by its own policy.
    Key sets and deny lists that servers fetch are fetched once, in the same way.
    A token must have `exp`, whatever is asked for.

    Exit codes: 0 valid, 1 not valid, also when no key of the set can be used, 2 wrong usage, 4 nobody
    can tell, for keys or a deny list could not be fetched.
    "#);
    assert_snapshot!(place.run("token inspect --help"), @r#"
    exit 0
    --- stdout
    Show what a token says, without checking it

    Usage: destrier token inspect [OPTIONS]

    Options:
          --token-file <FILE>  The file that holds the token; `-` is standard input [default: -]
      -h, --help               Print help
      -V, --version            Print version
    "#);
}

#[test]
fn help_of_key() {
    assert_snapshot!(Place::new().run("key generate --help"), @r#"
    exit 0
    --- stdout
    Make a key, readable by its owner only

    Usage: destrier key generate [OPTIONS] --out <FILE> <ALGORITHM>

    Arguments:
      <ALGORITHM>  What it is for; an RSA key serves RS256 to PS512 [possible values: HS256, HS384,
                   HS512, RS256, ES256, ES384, EdDSA]

    Options:
      -o, --out <FILE>         Where the secret or private key goes; an existing file is never
                               overwritten
          --public-out <FILE>  Where the public key goes [default: FILE.pub]; a shared secret has none
          --jwks-out <FILE>    Where the public key goes as a JWK set instead, called by its thumbprint;
                               other keys can follow it there
      -h, --help               Print help
      -V, --version            Print version

    Examples:
      destrier key generate HS256 --out demo.secret
      destrier key generate ES256 --out private.pem --public-out public.pem
      destrier key generate ES256 --out private.pem --jwks-out keys.json
    "#);
}

#[test]
fn help_is_data_only_when_it_was_asked_for() {
    let place = Place::new();
    let asked = place.run("--help");
    for line in ["", "token", "config", "key"] {
        let outcome = place.run(line);
        assert_eq!(outcome.code, Some(2), "{line}");
        assert_eq!(outcome.stdout, "", "{line}");
        assert!(outcome.stderr.contains("Usage: destrier"), "{line}");
    }
    assert_eq!(place.run("").stderr, asked.stdout);
    assert_eq!(place.run("help").stdout, asked.stdout);
    for line in ["check", "reload", "reopen", "config show", "config schema"] {
        let help = place.run(&format!("{line} --help")).data();
        assert!(help.contains(&format!("Usage: destrier {line}")), "{help}");
    }
    assert!(place.run("--version").data().starts_with("destrier 0."));
}

#[test]
fn what_is_typed_wrongly_is_answered_with_what_could_have_been_meant() {
    let place = Place::new();
    assert_snapshot!(place.run("reloads"), @r#"
    exit 2
    --- stderr
    error: unrecognized subcommand 'reloads'

      tip: a similar subcommand exists: 'reload'

    Usage: destrier <COMMAND>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("status --jsno"), @r#"
    exit 2
    --- stderr
    error: unexpected argument '--jsno' found

      tip: a similar argument exists: '--json'

    Usage: destrier status --json

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("scale"), @r#"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <WORKERS>

    Usage: destrier scale <WORKERS>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("scale 0"), @r#"
    exit 2
    --- stderr
    error: invalid value '0' for '<WORKERS>': 0 is not in 1..=512

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("scale 513"), @r#"
    exit 2
    --- stderr
    error: invalid value '513' for '<WORKERS>': 513 is not in 1..=512

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("scale -1"), @r#"
    exit 2
    --- stderr
    error: invalid value '-1' for '<WORKERS>': -1 is not in 1..=512

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("scale many"), @r#"
    exit 2
    --- stderr
    error: invalid value 'many' for '<WORKERS>': invalid digit found in string

    For more information, try '--help'.
    "#);
}
