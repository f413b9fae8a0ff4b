//! The command phase: what is answered, one command at a time, whatever comes.

use tokio::io::AsyncWriteExt;

use super::client::{Client, Reply, framed};
use super::scripted::Stage;

#[tokio::test]
async fn commands_in_one_segment_are_answered_one_by_one_with_their_own_text() {
    let stage = Stage::new();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    let texts: Vec<String> = (0..300).map(|number| format!("{number}-{}", "x".repeat(number * 7 % 190))).collect();
    let mut segment = Vec::new();
    for text in &texts {
        segment.extend_from_slice(&framed(format!("\x03SELECT '{text}'").as_bytes(), 0));
    }
    client.stream.write_all(&segment).await.expect("the pipe holds it");
    for text in &texts {
        client.sequence = 1;
        assert_eq!(client.reply().await.value(), text);
    }
}

#[tokio::test]
async fn a_login_and_commands_in_one_segment_do_not_disturb_each_other() {
    let stage = Stage::new();
    let mut client = Client::greeted(stage.connect()).await;
    let proof = super::client::native(&client.challenge, "secret");
    let login = super::client::login("repl", &proof, Some("mysql_native_password"), &[]);
    let segment = [framed(&login, 1), framed(b"\x03SELECT VERSION()", 0), framed(b"\x0e", 0)].concat();
    client.stream.write_all(&segment).await.expect("room");
    client.sequence = 2;
    assert_eq!(client.reply().await, Reply::Ok);
    client.sequence = 1;
    assert_eq!(client.reply().await.value(), "5.7.29-log");
    client.sequence = 1;
    assert_eq!(client.reply().await, Reply::Ok);
}

#[tokio::test]
async fn unknown_and_malformed_commands_are_errors_and_the_session_goes_on() {
    let stage = Stage::new();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    // COM_SHUTDOWN, COM_DEBUG, COM_CHANGE_USER, COM_TABLE_DUMP, one that there is not.
    for command in [0x08, 0x0d, 0x11, 0x13, 0xfa] {
        let reply = client.command(&[command, 0, 0]).await;
        assert_eq!(reply.error().0, 1047, "{command:#x}");
        assert!(reply.error().1.contains("RPX-3007"), "{reply:?}");
    }
    let absurd_count =
        [&[0x1e, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0][..], &[0, 0, 0, 0, 0, 1, 0, 0]]
            .concat();
    assert_eq!(absurd_count.len(), 31);
    for malformed in [
        &absurd_count[..],
        &absurd_count[..20],
        &[0x1e, 0, 0, 9, 0, 0, 0, 255, 255, 255, 255],
        &[0x12, 4, 0],
        &[0x15, 1, 0, 0, 0, 200],
        &[],
    ] {
        assert_eq!(client.command(malformed).await.error().0, 1835, "{malformed:?}");
    }
    assert_eq!(client.query("SELECT UNIX_TIMESTAMP").await.error().0, 1235);
    assert_eq!(client.query("SELECT 1").await.value(), "1");
}

#[tokio::test]
async fn small_commands_are_answered() {
    let stage = Stage::new();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(client.command(b"\x0e").await, Reply::Ok, "COM_PING");
    assert_eq!(client.command(b"\x02shop").await, Reply::Ok, "COM_INIT_DB");
    assert_eq!(client.query("SELECT DATABASE()").await.value(), "shop");
    assert_eq!(client.query("SET @a = 'b'").await, Reply::Ok);
    assert_eq!(client.command(b"\x1f").await, Reply::Ok, "COM_RESET_CONNECTION");
    assert_eq!(client.query("SELECT @a").await, Reply::Rows(vec!["@a".into()], vec![vec![None]]));
    client.send_command(b"\x09").await;
    let statistics = client.read().await.expect("a text");
    assert!(statistics.starts_with(b"Uptime: "), "COM_STATISTICS");
    client.send_command(b"\x1b\x00\x00").await;
    assert_eq!(client.read().await.expect("an EOF packet")[0], 0xfe, "COM_SET_OPTION");
    assert_eq!(client.command(&[0x0c, 99, 0, 0, 0]).await.error().0, 1094, "COM_PROCESS_KILL");
    client.send_command(b"\x04t\x00").await;
    assert_eq!(client.read().await.expect("an EOF packet")[0], 0xfe, "COM_FIELD_LIST");
    assert_eq!(client.query("SHOW MASTER STATUS").await.value(), "SHOW MASTER STATUS", "passed on");
    assert_eq!(client.query("SELECT @@max_allowed_packet").await.value(), "1073741824");
    assert_eq!(client.command(b"\x03SELECT '\xff\xfe'").await.value(), "\u{fffd}\u{fffd}", "not UTF-8");
    client.send_command(b"\x01").await;
    assert!(client.is_cut().await, "COM_QUIT");
}

#[tokio::test]
async fn statements_can_be_prepared_and_unknown_ones_are_errors() {
    let stage = Stage::new();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    client.send_command(b"\x16SELECT @@server_id").await;
    let prepared = client.read().await.expect("an answer");
    assert_eq!((prepared[0], prepared.len()), (0, 12));
    let id = &prepared[1..5];
    client.send_command(&[&[0x17], id, &[0, 1, 0, 0, 0]].concat()).await;
    assert_eq!(client.read().await.expect("a column count"), [1]);
    client.read().await.expect("a column");
    client.read().await.expect("an end");
    let row = client.read().await.expect("a row");
    assert!(row.ends_with(b"\x0211"), "{row:?}");
    client.read().await.expect("an end");
    // COM_STMT_CLOSE and COM_STMT_SEND_LONG_DATA have no answer.
    client.send_command(&[&[0x19], id].concat()).await;
    client.send_command(&[&[0x18], id, &[0, 0, 1, 2, 3]].concat()).await;
    assert_eq!(client.command(&[&[0x17], id, &[0, 1, 0, 0, 0]].concat()).await.error().0, 1243);
    for _ in 0..64 {
        client.send_command(b"\x16SELECT 1").await;
        assert_eq!(client.read().await.expect("an answer")[0], 0);
    }
    assert_eq!(client.command(b"\x16SELECT 1").await.error().0, 1105, "a limit");
}

#[tokio::test]
async fn a_command_out_of_sequence_or_over_the_limit_is_cut() {
    let stage = Stage::new();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    client.stream.write_all(&framed(b"\x0e", 255)).await.expect("room");
    client.sequence = 0;
    assert_eq!(client.reply().await.error().0, 1156);
    assert!(client.is_cut().await);

    let mut client = Client::logged_in(stage.connect(), &[]).await;
    client.stream.write_all(b"\x01\x00\x10\x00").await.expect("room");
    client.sequence = 1;
    assert_eq!(client.reply().await.error().0, 1153);
    assert!(client.is_cut().await);
}

#[tokio::test]
async fn replicas_that_register_are_listed_with_their_uuid() {
    let mut stage = Stage::new();
    let mut replica = Client::logged_in(stage.connect(), &[("_client_version", "5.7.29")]).await;
    assert_eq!(replica.query("SET @slave_uuid= 'aaaaaaaa-0000-0000-0000-000000000001'").await, Reply::Ok);
    let registration = [&[0x15, 7, 0, 0, 0, 2][..], b"h1", &[0, 0, 0xea, 0x0c], &[0; 8]].concat();
    assert_eq!(replica.command(&registration).await, Reply::Ok);
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    let expected = ["7", "h1", "3306", "11", "aaaaaaaa-0000-0000-0000-000000000001"];
    let row = expected.iter().map(|value| Some((*value).to_owned())).collect();
    let Reply::Rows(columns, rows) = client.query("SHOW SLAVE HOSTS").await else { panic!("no rows") };
    assert_eq!((columns[4].as_str(), rows), ("Slave_UUID", vec![row]));
    replica.send_command(&[&[0x12, 4, 0, 0, 0, 0, 0, 7, 0, 0, 0][..], b"binlog.000001"].concat()).await;
    let (request, _script) = stage.stream().await;
    assert_eq!(request.replica.version.map(|version| version.number), Some(50729));
}
