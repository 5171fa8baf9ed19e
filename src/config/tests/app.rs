//! `[app]`: Python applications, and where their interpreter is found.

use std::fs;

use super::*;

/// With an interpreter that is named, so that nothing is looked for.
fn python(keys: &str) -> Python {
    let text = format!("[app]\npython = \"/srv/venv/bin/python\"\n{keys}");
    accepted(&text).app.python.unwrap()
}

#[test]
fn an_application_is_a_module_and_what_is_in_it() {
    for (written, module, attribute) in [
        ("mysite.wsgi:application", "mysite.wsgi", "application"),
        ("mysite", "mysite", "application"),
        ("a.b_2:make.app", "a.b_2", "make.app"),
        (
            "app:create_app('x:y', debug=True)",
            "app",
            "create_app('x:y', debug=True)",
        ),
        ("größe:app", "größe", "app"),
    ] {
        let found = python(&format!("wsgi = \"{written}\"")).application;
        assert_eq!(
            (found.module.as_str(), found.attribute.as_str()),
            (module, attribute)
        );
    }
}

#[test]
fn what_names_no_module_is_refused() {
    let refused = |wsgi: &str| refused(&format!("[app]\npython = \"/p/q\"\nwsgi = \"{wsgi}\""));
    assert_snapshot!(refused("mysite/wsgi.py"), @r#"
    config: /srv/app.toml:3:8: `app.wsgi` must name a module with dots, not a file, found `"mysite/wsgi.py"`
    hint: as in `mysite.wsgi:application` or `mysite:create_app()`
    "#);
    for (wsgi, reason) in [
        ("a..b:app", "MODULE is names"),
        (":app", "MODULE is names"),
        ("1a:app", "MODULE is names"),
        ("a b:app", "MODULE is names"),
        ("app:", "an attribute after the colon"),
    ] {
        assert!(refused(wsgi).contains(reason), "{}", refused(wsgi));
    }
}

#[test]
fn what_it_gets_is_resolved_against_the_file() {
    let keys =
        "wsgi = \"a\"\nchdir = \"site\"\nenv_file = \"env\"\nthreads = 2\nenv = { A = \"\" }";
    let python = python(keys);
    assert_eq!(python.chdir, Path::new("/srv/site"));
    assert_eq!(python.env_file.as_deref(), Some(Path::new("/srv/env")));
    assert_eq!((python.threads, python.env["A"].as_str()), (2, ""));
    let without = accepted("[app]\nwsgi = \"a\"\npython = \"venv/bin/python\"")
        .app
        .python
        .unwrap();
    assert_eq!(without.chdir, Path::new("/srv"));
    assert_eq!(without.interpreter, Path::new("/srv/venv/bin/python"));
}

#[test]
fn connections_are_shared_unless_the_operator_says_otherwise() {
    let balance = |more: &str| {
        let text = format!("{more}\n[app]\nwsgi = \"a\"\npython = \"/p/q\"");
        accepted(&text).server.balance
    };
    assert_eq!(balance(""), Balance::Shared);
    assert_eq!(
        balance("[server]\nbalance = \"per-worker\""),
        Balance::PerWorker
    );
    assert_eq!(accepted("").server.balance, Balance::PerWorker);
}

#[test]
fn the_interpreter_is_that_of_the_nearest_environment() {
    let folder = tempfile::tempdir().unwrap();
    let [active, path] = ["active", "path"].map(|name| folder.path().join(name));
    let file = folder.path().join("app.toml");
    let search = Search {
        virtual_env: Some(active.display().to_string()),
        path: Some(format!("relative:{}", path.display())),
    };
    let found = |wish: &str| {
        let text = Text {
            file: file.clone(),
            text: format!("[app]\nwsgi = \"a\"\n{wish}"),
        };
        let sources = Sources {
            search: search.clone(),
            ..Sources::default()
        };
        let loaded = read_again(text, &sources).map_err(|errors| errors.to_string())?;
        let python = loaded.config.app.python.unwrap();
        Ok::<_, String>(python.interpreter)
    };
    let make = |place: &PathBuf| {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, "").unwrap();
        place.clone()
    };
    assert!(
        found("")
            .unwrap_err()
            .contains("there is no Python interpreter")
    );
    let named = found("python = \"python3.9\"").unwrap_err();
    assert!(named.contains("there is no `python3.9` on PATH"), "{named}");
    for place in [
        path.join("python3"),
        active.join("bin/python"),
        folder.path().join("venv/bin/python"),
        folder.path().join(".venv/bin/python"),
    ] {
        let made = make(&place);
        assert_eq!(found("").unwrap(), made);
    }
    assert_eq!(found("python = \"python3\"").unwrap(), path.join("python3"));
}

#[test]
fn keys_for_python_without_an_application_are_warned_of() {
    let warned = warned("[app]\nthreads = 2");
    let words = "/srv/app.toml:2:11: `app.threads` is for a Python application, which `app.wsgi` or `app.asgi` would name";
    assert!(warned.contains(words), "{warned}");
}

#[test]
fn an_application_is_wsgi_or_asgi() {
    let asgi = python("asgi = \"app.main:app\"");
    assert_eq!(asgi.interface, Interface::Asgi);
    assert_eq!(asgi.application.to_string(), "app.main:app");
    assert_eq!(python("wsgi = \"a\"").interface, Interface::Wsgi);
    assert_snapshot!(refused("[app]\npython = \"/p/q\"\nwsgi = \"a\"\nasgi = \"b\""), @r#"config: /srv/app.toml:4:8: `app.asgi` names an application, and so does `app.wsgi`: a server has one, found `"b"`"#);
    let warned = warned("[app]\npython = \"/p/q\"\nasgi = \"a\"\nthreads = 2");
    let words = "/srv/app.toml:4:11: `app.threads` is for `app.wsgi`: an application of `app.asgi` runs on the one event loop of its worker";
    assert!(warned.contains(words), "{warned}");
}

#[test]
fn an_application_that_is_named_replaces_both() {
    let text = Text {
        file: "/srv/app.toml".into(),
        text: "[app]\npython = \"/p/q\"\nwsgi = \"a\"".to_owned(),
    };
    let sources = Sources {
        application: Some(NamedApplication {
            interface: Interface::Asgi,
            entry: "b:c".to_owned(),
        }),
        ..Sources::default()
    };
    let python = read_again(text, &sources)
        .unwrap()
        .config
        .app
        .python
        .unwrap();
    assert_eq!(python.interface, Interface::Asgi);
    assert_eq!(python.application.to_string(), "b:c");
}

#[test]
fn who_writes_an_application_is_warned_and_has_it_imported_by_each_worker() {
    let written = python("wsgi = \"a\"\nreload_on_change = true");
    assert!(written.reload_on_change);
    assert_eq!(written.preload, Preload::Never);
    assert!(!python("wsgi = \"a\"").reload_on_change);
    let warned =
        warned("[app]\npython = \"/p/q\"\nwsgi = \"a\"\nreload_on_change = true\npreload = true");
    assert_snapshot!(warned, @r"
    config: there is no `[[auth.rule]]`: every request will be refused
    config: /srv/app.toml:4:20: `app.reload_on_change` is for development, not for production: clients are shown the traceback of an application that cannot be loaded
    config: /srv/app.toml:5:11: `app.preload` is not heeded with `app.reload_on_change`: each worker imports the application
    ");
}

#[test]
fn flags_of_a_run_win_over_the_file() {
    let text = Text {
        file: "/srv/app.toml".into(),
        text: "[app]\npython = \"/p/q\"\nwsgi = \"a\"\nreload_on_change = false\n[process]\ncontrol_socket = \"a.sock\""
            .to_owned(),
    };
    let sources = Sources {
        reload_on_change: true,
        control_socket: Some("/run/b.sock".to_owned()),
        ..Sources::default()
    };
    let config = read_again(text, &sources).unwrap().config;
    assert!(config.app.python.unwrap().reload_on_change);
    assert_eq!(config.process.control_socket, Some("/run/b.sock".into()));
}
