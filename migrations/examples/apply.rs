//! `cargo run -p migrations --example apply -- URL`: applies the migrations to a development database, for the script
//! that prepares the queries' offline data and so cannot use the binary that is built with them.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: apply DATABASE_URL")?;
    let pool = sqlx::PgPool::connect(&url).await?;
    migrations::MIGRATOR.run(&pool).await?;
    Ok(())
}
