/* The text of CREATE INDEX as sqlite_schema keeps it, taken apart: no pragma tells an expression.
 */
#ifndef NEAP_DEVICE_CORE_INDEX_SQL_H
#define NEAP_DEVICE_CORE_INDEX_SQL_H

#include "common/bytes.h"

enum { INDEX_PARTS = 64 };

struct index_sql {
	size_t n;
	struct slice part[INDEX_PARTS]; /* without ASC and DESC */
	struct slice where;		/* condition of a partial index; empty: it is whole */
};

/* Memory from `a`. NE_LIMIT: more parts than INDEX_PARTS; NE_MALFORMED: no CREATE INDEX; NE_MEMORY.
 */
NEAP_CHECK int index_sql_parse(struct slice sql, struct arena *a, struct index_sql *out,
			       struct err *e);

/* Whether `sql` has `name` as a column's name, ASCII case folded; it may be quoted, also as text.
 */
bool index_sql_names(struct slice sql, struct slice name);
/* The same of what stands in AS (…) of a CREATE TABLE: the expressions of generated columns. */
bool index_sql_generated_names(struct slice create_table, struct slice name);

#endif
