//! Destrier: a production app server that verifies tokens before the application is touched.

pub mod app;
pub mod auth;
pub mod channel;
pub mod cli;
pub mod commands;
pub mod config;
pub mod http;
pub mod logging;
pub mod master;
pub mod scoreboard;
pub mod supervisor;
pub mod sys;
pub mod worker;
