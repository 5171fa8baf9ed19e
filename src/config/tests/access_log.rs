//! `[access_log]`.

use super::warned;

#[test]
fn keys_for_lines_that_nobody_writes_are_warned_of() {
    let words = "/srv/app.toml:2:6: `access_log.to` does nothing: requests get no lines";
    let told = warned("[access_log]\nto = \"access.log\"");
    assert!(told.contains(words), "{told}");
    for decided in [true, false] {
        let text = format!("[access_log]\nto = \"access.log\"\nenabled = {decided}");
        let told = warned(&text);
        assert!(!told.contains("access_log"), "{decided}: {told}");
    }
}
