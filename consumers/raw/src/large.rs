//! Storing a large payload: handed to PostgreSQL piece by piece, because a bound parameter is copied twice on its way.

use sqlx::PgConnection;
use uuid::Uuid;

/// Payloads from this size on are stored so: it costs three round trips.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

const PIECE_BYTES: usize = 256 << 10;
const COPY: &str = "copy meta_payloads (account_id, payload_sha256, payload) from stdin (format binary)";
/// What COPY's binary format begins with: its name, no flags, no extension.
const BEGINNING: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: &[u8] = &(-1_i16).to_be_bytes();

/// Stores the payload unless it is there; one that is there and damaged is mended.
pub(crate) async fn store(
    conn: &mut PgConnection,
    account_id: Uuid,
    sha256: &[u8],
    payload: &[u8],
) -> sqlx::Result<()> {
    // COPY knows no ON CONFLICT: whoever stores the same bytes at the same time comes after this transaction.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 0))", sha256)
        .execute(&mut *conn)
        .await?;
    let is_sound = sqlx::query_scalar!(
        r#"select sha256(payload) = payload_sha256 as "is_sound!" from meta_payloads
           where account_id = $1 and payload_sha256 = $2"#,
        account_id,
        sha256,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match is_sound {
        Some(true) => Ok(()),
        Some(false) => {
            let mending = sqlx::query!(
                "update meta_payloads set payload = $3 where account_id = $1 and payload_sha256 = $2",
                account_id,
                sha256,
                payload,
            );
            mending.execute(conn).await.map(drop)
        }
        None => copy(conn, account_id, sha256, payload).await,
    }
}

async fn copy(conn: &mut PgConnection, account_id: Uuid, sha256: &[u8], payload: &[u8]) -> sqlx::Result<()> {
    let mut row = BEGINNING.to_vec();
    row.extend(3_i16.to_be_bytes());
    let length = |bytes: usize| i32::try_from(bytes).map(i32::to_be_bytes).map_err(|e| sqlx::Error::Encode(e.into()));
    for column in [&account_id.as_bytes()[..], sha256] {
        row.extend(length(column.len())?);
        row.extend(column);
    }
    row.extend(length(payload.len())?);
    let mut copy = conn.copy_in_raw(COPY).await?;
    copy.send(row).await?;
    for piece in payload.chunks(PIECE_BYTES) {
        copy.send(piece).await?;
    }
    copy.send(END).await?;
    copy.finish().await.map(drop)
}
