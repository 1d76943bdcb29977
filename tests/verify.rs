//! Every kind of damage that an output can take is found and named, and an output that took none is whole: after any runs, while one
//! runs, and after a kill.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod damage;

use std::path::Path;

use arrow::compute::concat_batches;
use damage::{
    check, copy, edit_manifest, edited, files, flip, key, live_desk, manifests, of_killed, of_recordings, program,
    rename_to_digest, rows, told, verified, well, without_row, write,
};
use serde_json::json;
use tidewatch::audit::verify::Depth::{self, Footers, Rows};

/// Damages a copy of the recordings' output.
fn found(depth: Depth, what: &str, wanted: &str, damage: impl FnOnce(&Path) -> String) {
    check(of_recordings(), depth, what, damage, wanted);
}

/// One of several files of a table.
fn file(output: &Path, table: &str, index: usize) -> std::path::PathBuf {
    let found = files(&output.join(table));
    assert!(found.len() > 1, "{table} has {} files", found.len());
    found[index.min(found.len() - 1)].clone()
}

fn assert_whole(output: &Path, what: &str) {
    for depth in [Footers, Rows] {
        let (kinds, said) = told(&verified(output, depth));
        assert_eq!(kinds, Vec::<String>::new(), "{what}, {depth:?}: {said}");
    }
}

#[test]
fn what_took_no_damage_is_whole_and_every_number_is_that_of_the_events() {
    assert_whole(of_recordings(), "recordings");
    let found = verified(of_recordings(), Rows);
    let counts = found.sums.partitions.values().map(|sums| sums.counts);
    let read: u64 = counts.clone().map(|counts| counts.read).sum();
    let accepted: u64 = counts.clone().map(|counts| counts.accepted).sum();
    assert_eq!((read, found.sums.partitions.len(), found.sums.checkpoints), (3600, 6, 3));
    assert!(counts.clone().all(|counts| counts.quarantined == 7 && counts.too_late > 0), "{:?}", found.sums);
    let tumbling = found.sums.tables["windows/tumbling"].memberships.unwrap();
    assert_eq!((tumbling.events, tumbling.given), (accepted, accepted), "one window an event");
    let sliding = found.sums.tables["windows/sliding"].memberships.unwrap();
    assert!(sliding.given > 2 * accepted && sliding.given < 3 * accepted, "45 s every 20 s: two or three");
    assert!(sliding.open > 0, "windows are open still");
}

#[test]
fn damage_to_a_tables_files_is_found() {
    let table = "windows/tumbling";
    found(Footers, "a file is deleted", "file_missing", |output| {
        let file = file(output, table, 0);
        std::fs::remove_file(&file).unwrap();
        key(output, &file)
    });
    found(Footers, "a row is added", "file_size", |output| {
        let file = file(output, table, 1);
        let batch = rows(&file);
        write(&file, &concat_batches(&batch.schema(), [&batch, &batch.slice(0, 1)]).unwrap());
        key(output, &file)
    });
    found(Footers, "a file is there twice, in its folder", "file_unknown", |output| {
        let file = file(output, table, 0);
        let twin = file.with_file_name(
            file.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace("-0-", "-9-")
                .replace("-1-", "-9-")
                .replace("-2-", "-9-"),
        );
        std::fs::copy(&file, &twin).unwrap();
        key(output, &twin)
    });
    found(Footers, "a file is there twice, in another folder", "file_unknown", |output| {
        let file = file(output, table, 0);
        let twin = output.join("windows/sliding").join(file.file_name().unwrap());
        std::fs::copy(&file, &twin).unwrap();
        key(output, &twin)
    });
    found(Footers, "a file of a table that never was", "file_unknown", |output| {
        std::fs::create_dir(output.join("windows/other")).unwrap();
        std::fs::write(output.join("windows/other/a.parquet"), "x").unwrap();
        "windows/other/a.parquet".to_owned()
    });
    found(Footers, "a file is cut short", "file_size", |output| {
        let file = file(output, "events", 0);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        key(output, &file)
    });
    found(Footers, "a bit of a footer is flipped", "file_unreadable", |output| {
        let file = file(output, "late", 0);
        flip(&file, |length| length - 2);
        key(output, &file)
    });
    found(Rows, "a bit of a value is flipped", "file_digest", |output| {
        let file = file(output, "quarantine", 0);
        flip(&file, |_| 30);
        key(output, &file)
    });
    found(Rows, "a value is edited and the file written anew", "file_size", |output| {
        let file = file(output, table, 0);
        write(&file, &edited(&rows(&file), 0, "count"));
        key(output, &file)
    });
    found(Rows, "rows are moved from one file to another", "file_size", |output| {
        let (one, other) = (file(output, table, 0), file(output, table, 1));
        let (from, to) = (rows(&one), rows(&other));
        write(&one, &without_row(&from, 0));
        write(&other, &concat_batches(&to.schema(), [&to, &from.slice(0, 1)]).unwrap());
        key(output, &one)
    });
}

#[test]
fn a_flipped_bit_of_a_value_is_seen_by_the_deep_look_alone() {
    let copy = copy(of_recordings());
    flip(&file(copy.path(), "windows/sliding", 0), |_| 30);
    assert_eq!(told(&verified(copy.path(), Footers)).0, Vec::<String>::new());
    assert_eq!(told(&verified(copy.path(), Rows)).0, ["file_digest"]);
}

#[test]
fn damage_to_manifests_is_found() {
    let count = manifests(of_recordings()).len();
    assert_eq!(count, 6, "a claim and a checkpoint a run");
    for index in 0..count {
        found(Footers, "a manifest is edited", "manifest_unreadable", |output| {
            let manifest = &manifests(output)[index];
            let text = std::fs::read_to_string(manifest).unwrap();
            std::fs::write(manifest, text.replace("\"proved\"", "\"forged\"")).unwrap();
            key(output, manifest)
        });
        found(Footers, "a manifest is cut short", "manifest_unreadable", |output| {
            let manifest = &manifests(output)[index];
            let bytes = std::fs::read(manifest).unwrap();
            std::fs::write(manifest, &bytes[..bytes.len() / 2]).unwrap();
            key(output, manifest)
        });
    }
    for index in 0..count - 1 {
        found(Footers, "a manifest is deleted", "manifest_missing", |output| {
            let manifest = manifests(output)[index].clone();
            std::fs::remove_file(&manifest).unwrap();
            key(output, &manifest)
        });
        found(Footers, "a manifest is rewritten, checksum and all", "manifest_unlinked", |output| {
            let manifest = manifests(output)[index].clone();
            edit_manifest(&manifest, |manifest| manifest["token"] = json!("0".repeat(32)));
            key(output, &manifests(output)[index + 1])
        });
    }
    found(Footers, "the newest manifest is deleted", "manifest_behind", |output| {
        std::fs::remove_file(&manifests(output)[count - 1]).unwrap();
        "a later manifest is missing".to_owned()
    });
    found(Footers, "the link to the manifest before is broken", "manifest_unlinked", |output| {
        let manifest = manifests(output)[count - 1].clone();
        edit_manifest(&manifest, |manifest| manifest["previous"] = json!("0".repeat(64)));
        key(output, &manifest)
    });
}

#[test]
fn a_newest_manifest_that_was_rewritten_checksum_and_all_contradicts_the_ledger() {
    let rewritten = |wanted: &str, names: &str, edit: &dyn Fn(&mut serde_json::Value)| {
        found(Footers, "the newest manifest is rewritten", wanted, |output| {
            let newest = manifests(output).pop().unwrap();
            edit_manifest(&newest, |manifest| edit(&mut manifest["entry"]["checkpoint"]));
            names.to_owned()
        });
    };
    rewritten("offsets_end", "0-0.ndjson", &|checkpoint| checkpoint["partitions"][0]["next"] = json!(599));
    rewritten("totals", "0-1.ndjson", &|checkpoint| checkpoint["partitions"][1]["totals"]["accepted"] = json!(1));
    rewritten("partition_unknown", "2-1.ndjson", &|checkpoint| {
        checkpoint["partitions"].as_array_mut().unwrap().truncate(5);
    });
    rewritten("ledger_end", "counts 1:", &|checkpoint| checkpoint["chain"]["rows"] = json!(1));
    rewritten("file_disputed", "windows/", &|checkpoint| {
        let files = checkpoint["publish"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["table"] == "windows/sliding").unwrap();
        file["rows"] = json!(1_000_000);
    });
    rewritten("object_missing", "nowhere", &|checkpoint| {
        checkpoint["state"][0]["key"] = json!("_checkpoints/state/00000000000000000005/nowhere");
    });
    rewritten("table_open", "windows/sliding", &|checkpoint| {
        let state = checkpoint["state"][0].clone();
        checkpoint["staged"] = json!([{"table": "windows/sliding", "key": state["key"], "size": state["size"],
            "sha256": state["sha256"], "rows": 7, "oldest": 0}]);
    });
}

#[test]
fn damage_to_the_ledger_is_found() {
    let count = files(&of_recordings().join("ledger")).len();
    assert_eq!(count, 3, "a file a run");
    for index in 0..count {
        let wanted = if index + 1 == count { "ledger_end" } else { "ledger_broken" };
        found(Footers, "a file of the ledger is deleted", wanted, |output| {
            std::fs::remove_file(file(output, "ledger", index)).unwrap();
            "rows".to_owned()
        });
        found(Footers, "a file of the ledger is there twice", "ledger_broken", |output| {
            let file = file(output, "ledger", index);
            let twin = file.with_file_name(file.file_name().unwrap().to_str().unwrap().replace("-0-", "-5-"));
            std::fs::copy(&file, &twin).unwrap();
            key(output, &twin)
        });
        found(Footers, "a file of the ledger is damaged", "ledger_unreadable", |output| {
            let file = file(output, "ledger", index);
            flip(&file, |length| length - 2);
            key(output, &file)
        });
        let last = rows(&file(of_recordings(), "ledger", index)).num_rows() - 1;
        for row in [0, last / 2, last] {
            let cut = if index + 1 == count && row == last { "ledger_end" } else { "ledger_broken" };
            for (what, wanted, is_cut) in [("cut", cut, true), ("edited", "ledger_broken", false)] {
                found(Footers, &format!("row {row} of the ledger's file {index} is {what}"), wanted, |output| {
                    let file = file(output, "ledger", index);
                    let before = rows(&file);
                    write(&file, &if is_cut { without_row(&before, row) } else { edited(&before, row, "epoch") });
                    rename_to_digest(&file);
                    "ledger".to_owned()
                });
                found(
                    Footers,
                    &format!("row {row} of the ledger's file {index} is {what}"),
                    "ledger_edited",
                    |output| {
                        let file = file(output, "ledger", index);
                        let before = rows(&file);
                        write(&file, &if is_cut { without_row(&before, row) } else { edited(&before, row, "epoch") });
                        key(output, &file)
                    },
                );
            }
        }
    }
}

#[test]
fn damage_to_state_and_to_staged_rows_is_found() {
    let hidden = |output: &Path, folder: &str| files(&output.join(folder)).pop().unwrap();
    assert_whole(of_killed(), "a pipeline that was killed");
    let waiting = verified(of_killed(), Rows);
    assert!(waiting.sums.tables["events"].open > 0 && waiting.files == 0, "rows are staged, and none is visible");
    // What a checkpoint underway had written belongs to nobody: only what the manifest names is damaged.
    let named = |output: &Path, list: &str| {
        let newest = manifests(output).pop().unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(newest).unwrap()).unwrap();
        let key = manifest["entry"]["checkpoint"][list][0]["key"].as_str().unwrap().to_owned();
        output.join(key)
    };
    for (output, list) in [(of_recordings(), "state"), (of_killed(), "state"), (of_killed(), "staged")] {
        check(
            output,
            Footers,
            "an object is deleted",
            |output| {
                let object = named(output, list);
                std::fs::remove_file(&object).unwrap();
                key(output, &object)
            },
            "object_missing",
        );
        check(
            output,
            Footers,
            "an object is cut short",
            |output| {
                let object = named(output, list);
                let bytes = std::fs::read(&object).unwrap();
                std::fs::write(&object, &bytes[..bytes.len() - 3]).unwrap();
                key(output, &object)
            },
            "object_size",
        );
        check(
            output,
            Rows,
            "an object is edited",
            |output| {
                let object = named(output, list);
                flip(&object, |length| length / 2);
                key(output, &object)
            },
            "object_digest",
        );
    }
    found(Footers, "an object of a later claim", "claim_missing", |output| {
        let object = hidden(output, "_checkpoints/state");
        let later = output.join("_checkpoints/state/00000000000000000099");
        std::fs::create_dir(&later).unwrap();
        std::fs::copy(&object, later.join(object.file_name().unwrap())).unwrap();
        "claim 99".to_owned()
    });
}

#[test]
fn a_running_pipelines_output_is_whole_whenever_it_is_looked_at() {
    let desk = live_desk();
    let output = desk.path().join("output");
    let run = ["run", "tidewatch.toml", "-q", "--set", "output.publish_every=200ms"];
    for workers in ["2", "1"] {
        let mut running = program(desk.path(), &[&run[..], &["-w", workers]].concat()).spawn().unwrap();
        let before = manifests(&output).last().cloned();
        while manifests(&output).last().cloned() == before {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        for look in 0..6 {
            assert_whole(&output, &format!("look {look} at a run on {workers} workers"));
        }
        assert!(running.try_wait().unwrap().is_none(), "it ran all the time");
        running.kill().unwrap();
        running.wait().unwrap();
        assert_whole(&output, "killed");
    }
    well(desk.path(), &["run", "tidewatch.toml", "-q", "-w", "3", "--set", "source.simulator.duration=1s"]);
    assert_whole(&output, "ended");
}

#[test]
fn the_program_tells_it_by_its_exit_code_in_words_and_in_json() {
    let copy = copy(of_recordings());
    let output = copy.path();
    let said = |arguments: &[&str]| {
        let ended = program(output.parent().unwrap(), &[&["verify"], arguments].concat()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
    };
    let url = output.to_str().unwrap();
    let (code, stdout, _) = said(&[url, "--deep"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("3,600 records of 6 partitions") && stdout.contains("\nwhole: "), "{stdout}");
    let lost = file(output, "windows/sliding", 0);
    std::fs::remove_file(&lost).unwrap();
    let (code, stdout, stderr) = said(&[url]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains(&key(output, &lost)) && stderr.contains("one fault"), "{stdout}{stderr}");
    let (code, stdout, _) = said(&[url, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, json["ok"].as_bool()), (Some(1), Some(false)));
    assert_eq!(json["findings"][0]["kind"], "file_missing");
    assert_eq!(json["findings"][0]["file"], key(output, &lost));
    std::fs::remove_dir_all(output.join("_checkpoints")).unwrap();
    assert_eq!(said(&[url]).0, Some(2), "no manifest at all");
    let nowhere = output.join("nowhere");
    assert_eq!(said(&[nowhere.to_str().unwrap()]).0, Some(2));
    assert!(!nowhere.exists(), "a look makes no folder");
}

#[test]
fn a_source_that_is_not_what_was_read_is_found_and_one_that_grew_is_not() {
    let compared = |what: &str, wanted: &[&str], change: &dyn Fn(&Path)| {
        let desk = copy(of_recordings().parent().unwrap());
        change(&desk.path().join("in/1-0.ndjson"));
        let words = ["verify", "output", "--source", "tidewatch.toml", "--json"];
        let ended = program(desk.path(), &words).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&ended.stdout)
            .unwrap_or_else(|_| panic!("{what}: {}", String::from_utf8_lossy(&ended.stderr)));
        let findings = json["findings"].as_array().unwrap();
        let kinds: Vec<&str> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, wanted, "{what}: {json:#}");
        assert!(findings.iter().all(|finding| finding["partition"] == "1-0.ndjson"), "{what}: {json:#}");
    };
    let edit = |file: &Path, edit: &dyn Fn(Vec<String>) -> Vec<String>| {
        let lines = std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
        std::fs::write(file, edit(lines).join("\n") + "\n").unwrap();
    };
    compared("nothing", &[], &|_| ());
    compared("it was deleted", &["source_missing"], &|file| std::fs::remove_file(file).unwrap());
    compared("it was cut short", &["source_ends"], &|file| {
        edit(file, &|mut lines| {
            lines.pop();
            lines
        });
    });
    compared("another is in its place", &["source_differs"], &|file| damage::record(file, 1_704_070_000));
    compared("two records changed places", &["source_differs"], &|file| {
        edit(file, &|mut lines| {
            lines.swap(10, 300);
            lines
        });
    });
    compared("it grew", &[], &|file| {
        edit(file, &|mut lines| {
            lines.push(lines[0].clone());
            lines
        });
    });
}
