//! The `destrier` program: the library with the demo application.

fn main() {}
