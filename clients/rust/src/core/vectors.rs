//! The vectors that the clients of all languages share: what goes into a core, and what must come out, to the
//! millisecond. `clients/vectors/README.md` has the format.
//!
//! `LOCKBROKER_WRITE_VECTORS=1 cargo test --package lockbroker-client vectors` fills in what this core makes of the inputs.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use serde_json::{Map, Value, json};

use super::*;

/// A fault in a file of vectors is a fault of the test.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

#[test]
fn the_core_does_what_the_vectors_say() {
    let mut cases = 0;
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let given: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let made: Vec<Value> = given.iter().map(replay).collect();
        if env::var_os("LOCKBROKER_WRITE_VECTORS").is_some() {
            let lines: String = made.iter().map(|case| format!("{case}\n")).collect();
            fs::write(&file, lines).unwrap();
            continue;
        }
        for (given, made) in given.iter().zip(&made) {
            let steps = |case: &Value| case["steps"].as_array().unwrap().clone();
            for (number, (given_step, made_step)) in steps(given).iter().zip(&steps(made)).enumerate() {
                assert_eq!(given_step, made_step, "{}: {}, step {number}", file.display(), given["case"]);
            }
            assert_eq!(given, made, "{}", file.display());
            cases += 1;
        }
    }
    assert!(cases > 30 || env::var_os("LOCKBROKER_WRITE_VECTORS").is_some(), "{cases} cases");
}

/// Runs a case, and returns it with what came out.
fn replay(case: &Value) -> Value {
    let zero = Moment::now();
    known(case, &["v", "case", "settings", "chance", "steps"]);
    assert_eq!(case["v"], 1);
    let endpoints = number(&case["settings"]["endpoints"]);
    known(&case["settings"], &["endpoints", "answer_timeout"]);
    let settings = Settings {
        endpoints: (0..endpoints).map(|number| format!("broker {number}")).collect(),
        answer_timeout: span(&case["settings"]["answer_timeout"]),
    };
    let mut chances = case["chance"].as_array().unwrap().clone().into_iter();
    let chance = Box::new(move || chances.next().expect("enough chance").as_f64().unwrap());
    let mut core = Core::new(settings, chance, zero);
    let mut keys = BTreeSet::new();
    let steps = case["steps"].as_array().unwrap().iter().map(|step| {
        known(step, &["at", "in", "out", "due", "valid", "state"]);
        let input = input(zero, &step["in"]);
        if let Input::Acquire { key, .. } = &input {
            keys.insert(*key);
        }
        let out = core.handle(zero + span(&step["at"]), input);
        let out: Vec<Value> = out.iter().map(output).collect();
        let mut made = json!({ "at": step["at"], "in": step["in"], "out": out });
        let due = core.due().map(|due| millis(due.since(zero)));
        made["due"] = due.into();
        let mut valid = Map::new();
        let mut states = Map::new();
        for &key in &keys {
            if let Some(held) = core.held(key) {
                let until = millis(held.until.since(zero));
                let broken = held.is_broken;
                valid.insert(key.to_string(), if broken { json!({ "bounded_by": until }) } else { until.into() });
            }
            if let Some(state) = core.state(key) {
                states.insert(key.to_string(), state.into());
            }
        }
        made["valid"] = valid.into();
        made["state"] = states.into();
        made
    });
    let steps: Vec<Value> = steps.collect();
    json!({ "v": 1, "case": case["case"], "settings": case["settings"], "chance": case["chance"], "steps": steps })
}

fn input(zero: Moment, input: &Value) -> Input {
    let (kind, of) = only(input);
    let link = || number(&of["link"]);
    let key = || number(&of["key"]);
    let message = |message| Input::Message { link: link(), message };
    let event = |event| message(Message::Event { lock_ref: of["lock_ref"].as_i64().unwrap(), event });
    match kind {
        "acquire" => {
            known(of, &["key", "name", "also", "linger", "owner", "value", "shared", "wait", "adopt"]);
            Input::Acquire {
                key: key(),
                spec: LockSpec {
                    name: text(&of["name"]),
                    also: maybe(&of["also"], texts).unwrap_or_default(),
                    linger: maybe(&of["linger"], span),
                    min_hold: None,
                    owner: maybe(&of["owner"], text).unwrap_or_default(),
                    value: maybe(&of["value"], |value| text(value).into_bytes()),
                    is_kept: false,
                    access: maybe(&of["shared"], access).unwrap_or_default(),
                },
                wait: maybe(&of["wait"], |wait| {
                    known(wait, &["until", "poll_interval"]);
                    let until = maybe(&wait["until"], |until| zero + span(until));
                    Wait { until, poll_interval: maybe(&wait["poll_interval"], span) }
                }),
                adopt: maybe(&of["adopt"], text),
            }
        }
        "end" => Input::End { key: key() },
        "share" => {
            known(of, &["key", "limit"]);
            Input::Share { key: key(), limit: maybe(&of["limit"], number_32) }
        }
        "value" => {
            known(of, &["key", "value"]);
            Input::Value { key: key(), value: text(&of["value"]).into_bytes() }
        }
        "dialled" => Input::Dialled { link: link(), result: maybe(&of["code"], |_| failure(of)).map_or(Ok(()), Err) },
        "ended" => Input::Ended { link: link(), failure: failure(of) },
        "released_elsewhere" => {
            Input::ReleasedElsewhere { key: key(), result: maybe(&of["code"], |_| failure(of)).map_or(Ok(()), Err) }
        }
        "timeout" => Input::Timeout,
        "opened" => message(Message::Opened {
            ttl: span(&of["ttl"]),
            expires_after: span(&of["expires_after"]),
            heartbeat_interval: span(&of["heartbeat_interval"]),
        }),
        "heartbeat_ack" => message(Message::HeartbeatAck {
            seq: of["seq"].as_i64().unwrap(),
            expires_after: span(&of["expires_after"]),
            not_renewed: of["not_renewed"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect(),
        }),
        "draining" => message(Message::Draining),
        "other" => message(Message::Other),
        "acquired" => event(Event::Acquired {
            lock_id: text(&of["lock_id"]),
            fencing_token: of["fencing_token"].as_i64().unwrap(),
            permit: maybe(&of["permit"], number_32),
            also: maybe(&of["also"], |also| also.as_array().unwrap().iter().map(granted).collect()).unwrap_or_default(),
        }),
        "not_acquired" => event(Event::NotAcquired(Refusal {
            reason: by_name(REFUSALS, &of["reason"]),
            owner: maybe(&of["owner"], text).unwrap_or_default(),
            name: maybe(&of["name"], text).unwrap_or_default(),
        })),
        "lost" => event(Event::Lost(by_name(LOSSES, &of["reason"]))),
        "released" => event(Event::Released),
        "failed" => event(Event::Failed(failure(of))),
        other => panic!("no input {other}"),
    }
}

/// One of several that are held together.
fn granted(of: &Value) -> Granted {
    known(of, &["lock_id", "fencing_token", "permit"]);
    Granted {
        lock_id: text(&of["lock_id"]),
        fencing_token: of["fencing_token"].as_i64().unwrap(),
        permit: maybe(&of["permit"], number_32),
    }
}

fn texts(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(text).collect()
}

fn access(shared: &Value) -> Access {
    known(shared, &["limit", "weight"]);
    let weight = maybe(&shared["weight"], number_32).unwrap_or(1);
    Access::Shared { limit: maybe(&shared["limit"], number_32), weight }
}

fn number_32(value: &Value) -> u32 {
    u32::try_from(number(value)).unwrap()
}

fn output(output: &Output) -> Value {
    match output {
        Output::Dial { link, endpoint } => json!({ "dial": { "link": link, "endpoint": endpoint } }),
        Output::Hangup { link } => json!({ "hangup": { "link": link } }),
        Output::Granted { key, lock_id, fencing_token, permit, also } => {
            let grant = |lock_id: &str, fencing_token: i64, permit: Option<u32>| {
                let mut granted = json!({ "lock_id": lock_id, "fencing_token": fencing_token });
                if let Some(permit) = permit {
                    granted["permit"] = permit.into();
                }
                granted
            };
            let mut granted = grant(lock_id, *fencing_token, *permit);
            granted["key"] = (*key).into();
            if !also.is_empty() {
                let also = also.iter().map(|also| grant(&also.lock_id, also.fencing_token, also.permit));
                granted["also"] = also.collect();
            }
            json!({ "granted": granted })
        }
        Output::NotShared { key, failure } => {
            json!({ "not_shared": { "key": key, "code": name(CODES, failure.code) } })
        }
        Output::Moved { key, lock_id, also, permit } => {
            let mut moved = json!({ "key": key, "lock_id": lock_id });
            if let Some(permit) = permit {
                moved["permit"] = (*permit).into();
            }
            if !also.is_empty() {
                moved["also"] = json!(also);
            }
            json!({ "moved": moved })
        }
        Output::Refused { key, refusal } => {
            let mut refused = json!({ "key": key, "reason": name(REFUSALS, refusal.reason), "owner": refusal.owner });
            if !refusal.name.is_empty() {
                refused["name"] = refusal.name.clone().into();
            }
            json!({ "refused": refused })
        }
        Output::Failed { key, failure } => json!({ "failed": { "key": key, "code": name(CODES, failure.code) } }),
        Output::Lost { key, reason } => json!({ "lost": { "key": key, "reason": name(LOSSES, *reason) } }),
        Output::Released { key } => json!({ "released": { "key": key } }),
        Output::ReleaseElsewhere { key, name, lock_id } => {
            json!({ "release_elsewhere": { "key": key, "name": name, "lock_id": lock_id } })
        }
        Output::Send { link, request } => request_to(*link, request),
    }
}

fn request_to(link: LinkId, request: &Request) -> Value {
    match request {
        Request::Open => json!({ "open": { "link": link } }),
        Request::Heartbeat { seq } => json!({ "heartbeat": { "link": link, "seq": seq } }),
        Request::End { lock_ref } => json!({ "end_lock": { "link": link, "lock_ref": lock_ref } }),
        Request::Begin { lock_ref, spec, wait, reattach, reattach_also } => {
            let mut begin = json!({ "link": link, "lock_ref": lock_ref, "name": spec.name });
            if !spec.also.is_empty() {
                begin["also"] = json!(spec.also);
            }
            if let Some(linger) = spec.linger {
                begin["linger"] = millis(linger).into();
            }
            if !spec.owner.is_empty() {
                begin["owner"] = spec.owner.clone().into();
            }
            if let Some(value) = &spec.value {
                begin["value"] = str::from_utf8(value).expect("values of vectors are texts").into();
            }
            if let Access::Shared { limit, weight } = spec.access {
                begin["shared"] = limit.map_or_else(|| json!({}), |limit| json!({ "limit": limit }));
                // A reattach names each permit.
                if weight > 1 && reattach.is_none() {
                    begin["shared"]["weight"] = weight.into();
                }
            }
            if let Some(wait) = wait {
                begin["wait"] = json!({});
                if let Some(max_wait) = wait.max_wait {
                    begin["wait"]["max_wait"] = millis(max_wait).into();
                }
                if let Some(poll_interval) = wait.poll_interval {
                    begin["wait"]["poll_interval"] = millis(poll_interval).into();
                }
            }
            if let Some(reattach) = reattach {
                begin["reattach"] = reattach.clone().into();
            }
            if !reattach_also.is_empty() {
                begin["reattach_also"] = json!(reattach_also);
            }
            json!({ "begin": begin })
        }
    }
}

type Names<T> = &'static [(T, &'static str)];

const CODES: Names<Code> = &[
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Handshake, "HANDSHAKE"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::Other(INTERNAL), "INTERNAL"),
];

const REFUSALS: Names<RefusalReason> = &[
    (RefusalReason::Held, "HELD"),
    (RefusalReason::Lingering, "LINGERING"),
    (RefusalReason::MaxWait, "MAX_WAIT"),
    (RefusalReason::NotReattachable, "NOT_REATTACHABLE"),
    (RefusalReason::Cancelled, "CANCELLED"),
];

const LOSSES: Names<LostReason> = &[
    (LostReason::Expired, "EXPIRED"),
    (LostReason::Gone, "GONE"),
    (LostReason::TakenOver, "TAKEN_OVER"),
    (LostReason::Revoked, "REVOKED"),
    (LostReason::Released, "RELEASED"),
];

fn by_name<T: Copy>(names: Names<T>, name: &Value) -> T {
    names.iter().find(|(_, known)| name == known).unwrap_or_else(|| panic!("no {name}")).0
}

fn name<T: PartialEq>(names: Names<T>, value: T) -> &'static str {
    names.iter().find(|(known, _)| *known == value).expect("a name").1
}

fn failure(of: &Value) -> Failure {
    let code = by_name(CODES, &of["code"]);
    Failure { code, retry_after: maybe(&of["retry_after"], span), ..Failure::unavailable("as the vector says") }
}

/// A key that nobody knows would be a case that tests nothing.
fn known(of: &Value, keys: &[&str]) {
    for key in of.as_object().unwrap().keys() {
        assert!(keys.contains(&key.as_str()), "unknown key {key} in {of}");
    }
}

fn only(of: &Value) -> (&str, &Value) {
    let object = of.as_object().unwrap();
    assert_eq!(object.len(), 1, "{of}");
    let (kind, of) = object.iter().next().unwrap();
    (kind, of)
}

fn maybe<T>(of: &Value, read: impl FnOnce(&Value) -> T) -> Option<T> {
    (!of.is_null()).then(|| read(of))
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or_else(|| panic!("no number: {of}"))
}

fn text(of: &Value) -> String {
    of.as_str().unwrap_or_else(|| panic!("no text: {of}")).to_owned()
}

fn span(of: &Value) -> Duration {
    Duration::from_millis(number(of))
}

fn millis(span: Duration) -> u64 {
    assert_eq!(span.subsec_nanos() % 1_000_000, 0, "{span:?} is not in whole milliseconds");
    u64::try_from(span.as_millis()).unwrap()
}
