//! What the proxies in front may say.

use super::*;

#[test]
fn addresses_of_either_section_may_speak_the_proxy_protocol() {
    let config = accepted(
        "[server]\nbind = ['0.0.0.0:80', 'unix:a.sock']\nproxy_protocol = ['unix:a.sock', '0.0.0.0:443']\ntrusted_proxies = ['10.0.0.0/8', 'unix']\n[tls]\nbind = '0.0.0.0:443'\ncertificate_file = 'a.crt'\nkey_file = 'a.key'\n",
    );
    let names: Vec<_> = config
        .server
        .proxy_protocol
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["unix:/srv/a.sock", "0.0.0.0:443"]);
    assert!(accepted("").server.proxy_protocol.is_empty());
}

#[test]
fn an_address_that_is_not_listened_on_cannot_speak_it() {
    assert_snapshot!(refused(
        "[server]\ntrusted_proxies = '10.0.0.0/8'\nproxy_protocol = ['127.0.0.1:8000', '127.0.0.1:8001', 'here']\n"
    ), @r#"
    config: /srv/app.toml:3:18: `server.proxy_protocol` names `127.0.0.1:8001`, which is neither in `server.bind` nor in `tls.bind`
    hint: it is written as there
    config: /srv/app.toml:3:55: `server.proxy_protocol[2]` must be HOST:PORT, [V6]:PORT, unix:PATH, fd:N or systemd:NAME, found `"here"`
    hint: the port is missing, as in `127.0.0.1:8000`
    "#);
}

#[test]
fn without_a_trusted_proxy_nobody_could_connect() {
    assert_snapshot!(refused("server.proxy_protocol = '127.0.0.1:8000'"), @r"
    config: /srv/app.toml:1:25: `server.proxy_protocol` is set, but `server.trusted_proxies` is empty: every connection would be closed
    hint: name the load balancer that speaks the PROXY protocol, by its address or network
    ");
}

#[test]
fn what_can_hardly_be_meant_of_proxies_is_warned_of() {
    let warnings = |text: &str| {
        let loaded = read_text(text, &Sources::default()).unwrap();
        let texts: Vec<_> = loaded
            .warnings
            .into_iter()
            .map(|warning| warning.message)
            .filter(|message| message.starts_with("`server."))
            .collect();
        texts
    };
    assert_eq!(
        warnings("server.forwarded = 'forwarded'"),
        [
            "`server.forwarded` is set, but `server.trusted_proxies` is empty: nobody may tell of a client"
        ]
    );
    assert_eq!(
        warnings("server.trusted_proxies = ['10.0.0.0/8', '::/0']"),
        ["`server.trusted_proxies[1]` is everybody: any client may say that it is another one"]
    );
    assert!(warnings("server.forwarded = 'none'").is_empty());
}
