"""What PostgreSQL remembers: tables, migrations, and the statements that read and write them."""
