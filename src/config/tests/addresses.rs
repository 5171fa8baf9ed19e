//! `server.bind`.

use super::*;

#[test]
fn addresses_are_literal() {
    let bind = [
        "localhost:80",
        ":80",
        "*:80",
        "8000",
        "127.0.0.1",
        "::1:80",
        "[::1]",
        "1.2.3.4:99999",
        "http://127.0.0.1:80",
        "/run/a.sock",
        "unix:",
        "unix:@a",
        "fd:1",
        "fd:x",
        "systemd:",
        "systemd:a:b",
    ];
    assert_snapshot!(refused(&format!("server.bind = {bind:?}")), @r#"
    config: /srv/app.toml:1:16: `server.bind[0]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"localhost:80"`
    hint: names are not looked up: write a literal address, such as `127.0.0.1:80`
    config: /srv/app.toml:1:32: `server.bind[1]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `":80"`
    hint: for every address of this machine, write `[::]:80` or `0.0.0.0:80`
    config: /srv/app.toml:1:39: `server.bind[2]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"*:80"`
    hint: for every address of this machine, write `[::]:80` or `0.0.0.0:80`
    config: /srv/app.toml:1:47: `server.bind[3]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"8000"`
    hint: for this machine only, write `127.0.0.1:8000`
    config: /srv/app.toml:1:55: `server.bind[4]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"127.0.0.1"`
    hint: the port is missing; an IPv6 address stands in brackets, as in `[::1]:8000`
    config: /srv/app.toml:1:68: `server.bind[5]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"::1:80"`
    hint: the port is missing; an IPv6 address stands in brackets, as in `[::1]:8000`
    config: /srv/app.toml:1:78: `server.bind[6]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"[::1]"`
    hint: the port is missing; an IPv6 address stands in brackets, as in `[::1]:8000`
    config: /srv/app.toml:1:87: `server.bind[7]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"1.2.3.4:99999"`
    hint: the port must be 0 to 65535
    config: /srv/app.toml:1:104: `server.bind[8]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"http://127.0.0.1:80"`
    hint: leave the scheme out, as in `127.0.0.1:8000`
    config: /srv/app.toml:1:127: `server.bind[9]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"/run/a.sock"`
    hint: for a Unix socket, write `unix:/run/a.sock`
    config: /srv/app.toml:1:142: `server.bind[10]` must have a path after `unix:`, found `"unix:"`
    config: /srv/app.toml:1:151: `server.bind[11]` must be a path, not an abstract socket, found `"unix:@a"`
    config: /srv/app.toml:1:162: `server.bind[12]` must have a file descriptor from 3 up after `fd:`, found `"fd:1"`
    config: /srv/app.toml:1:170: `server.bind[13]` must have a file descriptor from 3 up after `fd:`, found `"fd:x"`
    config: /srv/app.toml:1:178: `server.bind[14]` must have a FileDescriptorName= after `systemd:`, found `"systemd:"`
    config: /srv/app.toml:1:190: `server.bind[15]` must have a FileDescriptorName= after `systemd:`, found `"systemd:a:b"`
    "#);
}

#[test]
fn every_kind_of_address_is_accepted() {
    let bind = accepted(
        r#"server.bind = ["[::1]:80", "0.0.0.0:0", "unix:a.sock", "fd:3", "systemd:http"]"#,
    )
    .server
    .bind;
    let shown: Vec<String> = bind.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "[::1]:80",
            "0.0.0.0:0",
            "unix:/srv/a.sock",
            "fd:3",
            "systemd:http"
        ]
    );
}

#[test]
fn an_address_stands_once() {
    assert_snapshot!(refused(r#"server.bind = ["unix:a.sock", "unix:/srv/a.sock"]"#), @r#"
    config: /srv/app.toml:1:31: `server.bind[1]` repeats `unix:/srv/a.sock`
    "#);
    assert_snapshot!(refused("server.bind = []"), @r#"
    config: /srv/app.toml:1:15: `server.bind` must have at least one address, found `[]`
    "#);
}

#[test]
fn a_unix_path_fits_into_its_address() {
    // `/srv/` and 102 more are the most that unix(7) has room for.
    accepted(&format!("server.bind = 'unix:{}'", "a".repeat(102)));
    let long = "a".repeat(103);
    let file = format!("server.bind = 'unix:{long}'\nprocess.control_socket = '{long}'");
    assert_snapshot!(refused(&file), @r#"
    config: /srv/app.toml:1:15: `server.bind` must be a path that a Unix socket can have, found `"unix:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…`
    hint: it has 108 bytes, at most 107 fit: choose a shorter one, as in /run
    config: /srv/app.toml:2:26: `process.control_socket` must be a path that a Unix socket can have, found `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…`
    hint: it has 108 bytes, at most 107 fit: choose a shorter one, as in /run
    "#);
}
