//! What the catalogue must say for the other tests to mean anything: each statement lists what is wrong.

use anyhow::Result;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogue_has_no_hole() -> Result<()> {
    let db = testkit::database().await?;
    for (rule, wrong, known) in RULES {
        let found: Vec<String> = sqlx::query_scalar(*wrong).fetch_all(&db.pool).await?;
        assert_eq!(found, *known, "{rule}");
    }
    Ok(())
}

/// A rule, the query for what it is about, and what is right to be found.
const RULES: &[(&str, &str, &[&str])] = &[
    (
        "row-level security is enabled on every table, and forced on none: COPY is refused under it",
        "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace
         where nspname = 'public' and relkind in ('r', 'p') and (not relrowsecurity or relforcerowsecurity)",
        &["_sqlx_migrations"],
    ),
    (
        "a policy holds the web's role in all that it does, and what may be written is what may be seen",
        "select format('%s of %s', polname, polrelid::regclass) from pg_policy
         where polcmd <> '*' or polroles <> array['adledger_web'::regrole::oid] or polqual is null
            or pg_get_expr(polqual, polrelid) is distinct from pg_get_expr(polwithcheck, polrelid)",
        &[],
    ),
    (
        "a second permissive policy would open what the first one closes",
        "select polrelid::regclass::text from pg_policy where polpermissive group by polrelid having count(*) > 1",
        &[],
    ),
    (
        "a view asks with the rights of who asks it",
        "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace
         where nspname = 'public' and relkind in ('v', 'm')
           and not coalesce('security_invoker=true' = any (reloptions), false)",
        &[],
    ),
    (
        "a view is read, and never written through",
        "select format('%s on %s', privilege_type, relname) from pg_class c join pg_namespace n on n.oid = relnamespace,
             aclexplode(relacl)
         where nspname = 'public' and relkind in ('v', 'm') and grantee <> relowner and privilege_type <> 'SELECT'",
        &[],
    ),
    (
        "what is answered with the owner's rights is named here, and looks in no schema of the asker's",
        "select format('%s: %s', proname, array_to_string(proconfig, '; ')) from pg_proc p
         join pg_namespace n on n.oid = pronamespace
         where prosecdef and nspname not in ('pg_catalog', 'information_schema') order by 1",
        &[
            "web_forget_expired: search_path=public, pg_temp",
            "web_tenant_of_token: search_path=public, pg_temp",
            "web_tenants: search_path=public, pg_temp",
        ],
    ),
    (
        "nobody but the web may ask these",
        "select format('%s: %s', proname, coalesce(r.rolname, 'public')) from pg_proc p
         join pg_namespace n on n.oid = pronamespace
         cross join aclexplode(coalesce(proacl, acldefault('f', proowner))) left join pg_roles r on r.oid = grantee
         where prosecdef and nspname not in ('pg_catalog', 'information_schema')
           and grantee not in (proowner, 'adledger_web'::regrole)",
        &[],
    ),
    (
        "nobody but the web has a right to a table, a view, a sequence or a column",
        "select distinct format('%s: %s', name, coalesce(r.rolname, 'public'))
         from (select oid::regclass as name, relowner, relnamespace, relacl as acl from pg_class
               union all
               select attrelid::regclass, relowner, relnamespace, attacl
               from pg_attribute join pg_class c on c.oid = attrelid) given
         join pg_namespace n on n.oid = relnamespace
         cross join aclexplode(acl) left join pg_roles r on r.oid = grantee
         where nspname = 'public' and grantee not in (relowner, 'adledger_web'::regrole)",
        &[],
    ),
    (
        "the web's rights are those that policies hold, and not the web's to pass on",
        "select format('%s on %s', privilege_type, relname) from pg_class c join pg_namespace n on n.oid = relnamespace,
             aclexplode(relacl)
         where nspname = 'public' and grantee = 'adledger_web'::regrole
           and (privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') or is_grantable)",
        &[],
    ),
    (
        "all of the schema is owned by who migrates, whom no policy holds, and nothing by the web",
        "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace
         where nspname = 'public' and (relowner <> current_user::regrole or relowner = 'adledger_web'::regrole)
         union all
         select proname::text from pg_proc p join pg_namespace n on n.oid = pronamespace
         where nspname = 'public' and (proowner <> current_user::regrole or proowner = 'adledger_web'::regrole)",
        &[],
    ),
    (
        "the web's role has no other role's rights, and makes nothing of its own in the schema",
        "select roleid::regrole::text from pg_auth_members where member = 'adledger_web'::regrole
         union all
         select nspname::text from pg_namespace
         where nspname not like 'pg\\_%' and has_schema_privilege('adledger_web', oid, 'create')",
        &[],
    ),
];
