-- Where there is no Python beside DuckDB: read this before duckdb.sql. Bodies that a client compressed are an error then.

CREATE OR REPLACE TEMP MACRO strata_unpacked(body, sys_flag) AS
    error('the body is compressed by its client, which takes strata_duckdb.py to read');
CREATE OR REPLACE TEMP MACRO strata_unpacked_text(body, sys_flag) AS
    error('the body is compressed by its client, which takes strata_duckdb.py to read');
