"""The fleet's ledger on PostgreSQL: sole importer of psycopg, from the extra `harvester[fleet]`."""
