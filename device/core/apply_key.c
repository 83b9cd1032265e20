/* Keys as bytes, and rows as text. */
#include "device/core/apply_internal.h"
#include "protocol/row_text.h"
#include "protocol/value_bytes.h"

int key_put(const struct shape *s, const struct val *key, struct buf *out)
{
	return key_put_canonical(out, s, key);
}

int key_put_stored(struct target *tg, const struct val *key, struct buf *out, bool *found,
		   struct err *e)
{
	struct val stored[LIMIT_KEY_COLUMNS];
	int rc = NE_OK;

	buf_clear(out);
	TRY(sql_bind_key(tg->d, tg->sql.find, 1, tg->t, key, e));
	TRY(db_step(tg->d->db, tg->sql.find, found, e));
	if (*found) {
		for (int i = 0; i < tg->t->shape.n_key; i++)
			stored[i] = val_column(tg->sql.find, i);
		rc = key_put(&tg->t->shape, stored, out);
	}
	sqlite3_reset(tg->sql.find);
	return rc;
}

int row_text(const struct shape *s, const struct image *im, bool all, struct buf *out)
{
	for (int i = 0; i < s->n_key; i++)
		TRY(text_member(s->key[i].name, &im->key[i], i == 0, out));
	for (int i = 0; all && i < s->n_col; i++) {
		if (im->has[i])
			TRY(text_member(s->col[i].name, &im->val[i], false, out));
	}
	return buf_printf(out, "}");
}
