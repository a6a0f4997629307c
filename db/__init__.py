"""What PostgreSQL remembers: tables, migrations, and the functions that read and write batches."""
