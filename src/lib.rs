//! Destrier: a production app server that verifies tokens before the application is touched.

pub mod auth;
pub mod channel;
pub mod cli;
pub mod commands;
pub mod config;
pub mod key_files;
pub mod logging;
pub mod supervisor;
pub mod sys;
