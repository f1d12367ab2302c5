SELECT jsonb_build_object(
  'functions', (SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]') FROM (
    SELECT n.nspname AS schema, p.proname AS name, p.prokind AS kind, p.provolatile AS volatility,
      l.lanname AS language, r.rolname AS owner, p.prosecdef AS definer, p.proconfig AS settings,
      (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
          AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass LIMIT 1) AS extension,
      (p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1) AS field,
      coalesce((SELECT t.typtype IN ('c', 'd', 'p') FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0]), false) AS of_row,
      CASE WHEN p.prokind <> 'f' OR l.lanname NOT IN ('sql', 'plpgsql') OR octet_length(p.prosrc) > 100000 THEN NULL
        WHEN (to_jsonb(p) ->> 'prosqlbody') IS NULL THEN
          format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE %I AS %L', n.nspname, p.proname,
            pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname, p.prosrc)
        WHEN p.proconfig IS NULL AND length(to_jsonb(p) ->> 'prosqlbody') < 1000000 THEN pg_get_functiondef(p.oid)
      END AS definition,
      (SELECT jsonb_agg(jsonb_build_array(cn.nspname, c.proname)) FROM pg_catalog.pg_aggregate a
        JOIN pg_catalog.pg_proc c ON c.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
          a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
        JOIN pg_catalog.pg_namespace cn ON cn.oid = c.pronamespace WHERE a.aggfnoid = p.oid) AS calls
    FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
    WHERE p.oid >= 16384 LIMIT 20001) f),
  'views', (SELECT coalesce(jsonb_agg(to_jsonb(v)), '[]') FROM (
    SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'm' AS materialized,
      (SELECT CASE WHEN pg_column_size(w.ev_action) < 1000000 THEN pg_get_viewdef(c.oid) END FROM pg_catalog.pg_rewrite w
        WHERE w.ev_class = c.oid AND w.ev_type = '1' LIMIT 1) AS definition
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND c.relkind IN ('v', 'm') LIMIT 20001) v),
  'programs', (SELECT coalesce(jsonb_agg(to_jsonb(q)), '[]') FROM (
    SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_foreign_table t
      JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE EXISTS (SELECT FROM pg_options_to_table(t.ftoptions) o WHERE o.option_name = 'program')) q),
  'operators', (SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM (
    SELECT n.nspname AS schema, o.oprname AS name, jsonb_build_array(jsonb_build_array(pn.nspname, p.proname)) AS calls,
      '[]'::pg_catalog.jsonb AS expressions
    FROM pg_catalog.pg_operator o
      JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
      JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
      JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
    WHERE o.oid >= 16384 AND p.oid >= 16384) o),
  'enums', (SELECT coalesce(jsonb_agg(jsonb_build_array(n.nspname, t.typname)), '[]') FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384 AND t.typtype = 'e'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.casttarget = t.oid AND c.castfunc <> 0)),
  'types', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM (
    SELECT n.nspname AS schema, t.typname AS name, '[]'::pg_catalog.jsonb AS calls,
      jsonb_agg(pg_get_constraintdef(k.oid)) AS expressions
    FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_type t ON t.oid = k.contypid
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384 AND k.contype = 'c' GROUP BY 1, 2
    UNION ALL
    SELECT n.nspname, t.typname, jsonb_build_array(jsonb_build_array(pn.nspname, p.proname)), '[]'
    FROM pg_catalog.pg_cast c
      JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
      JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
      JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
    WHERE c.oid >= 16384 AND p.oid >= 16384) t)
)::pg_catalog.text
