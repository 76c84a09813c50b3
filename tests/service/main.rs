//! Who sees what, the control listener, the end of a node, and the command line, over real sockets.
//!
//! Every setting has a test that shows its effect (`public` and `crash` are binaries beside this one; what a value may be is
//! tested in `settings::a_bad_setting_ends_with_2_before_anything_is_bound` and in the unit tests of the table):
//!
//! | setting | its effect |
//! |---|---|
//! | `WS_HOST`, `WS_TRUST_CLIENTS` | `settings::a_node_listens_where_it_is_told` |
//! | `WS_PORT` | `commands::tail_comes_back_after_the_node_was_restarted`, every test (0) |
//! | `WS_SHARDS` | `operate::counts_are_true_at_the_moment_of_asking` |
//! | `ALLOWED_ORIGINS` | `public` |
//! | `WS_MAX_CONNECTIONS`, `WS_MAX_CONNECTIONS_PER_IP`, `WS_CONNECT_RATE_PER_IP`, `WS_TRUSTED_PROXIES` | `public`, `storm::a_node_without_descriptors_pauses_accepting_and_recovers` |
//! | `WS_HEAD_TIMEOUT`, `WS_AUTH_TIMEOUT` | `storm::sockets_that_never_speak_are_closed_at_their_deadline`, `public` |
//! | `WS_PING_INTERVAL`, `WS_PONG_TIMEOUT` | `public` |
//! | `WS_RATE_LIMIT`, `WS_RATE_ABUSE`, `WS_MAX_MESSAGE_SIZE`, `WS_MAX_BACKLOG`, `WS_MAX_KEYS` | `public` |
//! | `WS_COMPRESSION`, `WS_COMPRESSION_THRESHOLD` | `public` (`compression`) |
//! | `WS_BATCH_WINDOW` | `public` (`window`) |
//! | `WS_PRESENCE_GRACE` | `operate::counts_are_true_at_the_moment_of_asking`, `public` |
//! | `WS_HISTORY_EVENTS`, `WS_HISTORY_BYTES` | `history::a_gap_in_the_history_is_announced` |
//! | `WS_IDEMPOTENCY_WINDOW` | `history::an_idempotency_key_is_forgotten_after_its_window` |
//! | `WS_DRAIN_TIMEOUT` | `stop`, `operate::a_drain_sends_everybody_away_and_the_node_runs_on` |
//! | `WS_VALIDATE` | `schema::unknown_shapes_pass_where_validation_is_off_but_addresses_are_checked` |
//! | `WS_POLICY` | `settings::a_policy_of_its_own_decides_who_sees_what` |
//! | `WS_CONTROL_SOCKET` | `listeners::a_socket_that_a_dead_node_left_is_replaced_and_other_files_are_not` |
//! | `WS_CONTROL_ADDR`, `WS_CONTROL_TOKEN` | `listeners::tcp_asks_for_the_token_on_every_request` |
//! | `WS_JWT_SECRET` | `commands::a_minted_token_is_accepted_by_a_node_with_the_secret`, `public` |
//! | `WS_JWKS` | `public` |
//! | `WS_MAX_BODY`, `WS_MAX_EVENT_SIZE` | `posting::limits_hold_to_the_byte` |
//! | `WS_JOURNAL` | `crash` |
//! | `WS_JOURNAL_SYNC`, `WS_JOURNAL_INTERVAL` | `crash` (`bounds::the_policy_says_when_the_log_is_forced_to_the_disk`) |
//! | `WS_JOURNAL_SEGMENT`, `WS_JOURNAL_MAX_BYTES` | `crash` (`restart::a_log_of_bounded_size_forgets_its_oldest_events`) |
//! | `WS_JOURNAL_MAX_AGE` | `crash` (`bounds::what_is_too_old_goes`) |
//! | `WS_TLS_CERT`, `WS_TLS_KEY` | `public` (`tls`) |
//! | `WS_LOG`, `WS_LOG_FORMAT` | `settings::the_log_has_the_level_and_the_shape_that_were_asked_for` |
//! | a flag instead of a variable | `settings::a_flag_wins_over_its_variable` |

#[path = "../support/mod.rs"]
mod support;

mod address;
mod bench;
mod catalogue;
mod commands;
mod history;
mod listeners;
mod operate;
mod past;
mod posting;
mod schema;
mod sees;
mod settings;
mod stop;
mod storm;
