#include "protocol/seal.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/context.h"

enum {
	IV_LEN = 12,
	TAG_LEN = 16,
	PROTECTED_LEN = 22,
	HEADER_LEN = 40,	 /* all that stands before the ciphertext's head */
	HEAD_MAX = 5,		 /* head of a byte string shorter than 2^32 */
	PLAIN_MAX = INT_MAX / 2, /* OpenSSL counts in int */
	OPENER_SIDS = 4,
};

/* SP 800-38D allows 2^32 random IVs under a key; 2^28 leaves room. */
static const uint64_t seals_per_sid = (uint64_t)1 << 28;

/* The fixed bytes of a message's header, in order: K4's one shape. */
static const uint8_t head_kid[] = {0xd0, 0x83, 0x56, 0xa3, 0x01, 0x03, 0x04, 0x44};
static const uint8_t head_sid[] = {0x63, 's', 'i', 'd', 0x48};
static const uint8_t head_iv[] = {0xa1, 0x05, 0x4c};

enum {
	AT_PROTECTED = 3, /* behind the tag, array and byte string heads */
	AT_KID = sizeof head_kid,
	AT_SID = AT_KID + 4 + sizeof head_sid,
	AT_IV = AT_SID + SID_LEN + sizeof head_iv,
};
_Static_assert(AT_IV + IV_LEN == HEADER_LEN, "the header's parts add up");
_Static_assert(AT_SID + SID_LEN - AT_PROTECTED == PROTECTED_LEN,
	       "the protected header's parts add up");
_Static_assert(HEADER_LEN + HEAD_MAX + TAG_LEN <= SEAL_OVERHEAD, "the overhead is what it says");

/* Whom and what a message is for. */
struct scope {
	struct key key;
	uint32_t epoch;
	enum seal_kind kind;
	uint8_t name[2 * LIMIT_ID]; /* the user, then the peer */
	size_t user_len, peer_len;
};

static int scope_init(struct scope *s, const struct key *key, uint32_t epoch, enum seal_kind kind,
		      struct slice user, struct slice peer, struct err *e)
{
	if (user.len > LIMIT_ID || peer.len > LIMIT_ID)
		return err_set(e, NE_USAGE, "an id is longer than %d bytes", LIMIT_ID);
	s->key = *key;
	s->epoch = epoch;
	s->kind = kind;
	s->user_len = user.len;
	s->peer_len = peer.len;
	if (user.len)
		memcpy(s->name, user.at, user.len);
	if (peer.len)
		memcpy(s->name + user.len, peer.at, peer.len);
	return 0;
}

static struct slice scope_user(const struct scope *s)
{
	return slice_of(s->name, s->user_len);
}

static struct slice scope_peer(const struct scope *s)
{
	return slice_of(s->name + s->user_len, s->peer_len);
}

static void put_header(uint8_t out[static HEADER_LEN], uint32_t epoch,
		       const uint8_t sid[static SID_LEN], const uint8_t iv[static IV_LEN])
{
	memcpy(out, head_kid, sizeof head_kid);
	for (int i = 0; i < 4; i++)
		out[AT_KID + i] = (uint8_t)(epoch >> (24 - 8 * i));
	memcpy(out + AT_KID + 4, head_sid, sizeof head_sid);
	memcpy(out + AT_SID, sid, SID_LEN);
	memcpy(out + AT_SID + SID_LEN, head_iv, sizeof head_iv);
	memcpy(out + AT_IV, iv, IV_LEN);
}

/* RFC 9052 section 5.3: ["Encrypt0", protected, external_aad]. */
static void put_aad(struct context *aad, const struct scope *s, const uint8_t *protected_header)
{
	struct context external = {0};

	context_array(&external, 4);
	context_text(&external, "neap/v1");
	context_text(&external, seal_kind_name(s->kind));
	context_text_slice(&external, scope_user(s));
	context_text_slice(&external, scope_peer(s));
	context_array(aad, 3);
	context_text(aad, "Encrypt0");
	context_bytes(aad, slice_of(protected_header, PROTECTED_LEN));
	context_bytes(aad, context_slice(&external));
	aad->full = aad->full || external.full;
}

/* A cipher context with the subkey of `sid` in it, ready for IVs. */
static EVP_CIPHER_CTX *cipher_new(const struct scope *s, const uint8_t sid[static SID_LEN],
				  int encrypt, struct err *e)
{
	struct key subkey;
	EVP_CIPHER_CTX *ctx = NULL;

	if (key_subkey(&s->key, s->kind, scope_user(s), scope_peer(s), sid, &subkey, e))
		return NULL;
	ctx = EVP_CIPHER_CTX_new();
	/* The IV's default length with GCM is 12. */
	if (!ctx ||
	    EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, subkey.at, NULL, encrypt) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
		err_set(e, NE_INTERNAL, "the cipher could not be set up");
	}
	key_wipe(&subkey);
	return ctx;
}

struct sealer {
	struct scope scope;
	random_fn random;
	void *random_ctx;
	uint64_t limit, sealed; /* seals per sid; seals under this one */
	pid_t pid;		/* a forked child must not go on with the parent's IVs */
	uint8_t sid[SID_LEN];
	uint8_t iv[IV_LEN];
	EVP_CIPHER_CTX *ctx; /* NULL: no sid is good, the next seal draws one */
};

int sealer_renew(struct sealer *s, struct err *e)
{
	EVP_CIPHER_CTX_free(s->ctx);
	s->random(s->random_ctx, s->sid, sizeof s->sid);
	s->random(s->random_ctx, s->iv, sizeof s->iv);
	s->sealed = 0;
	s->pid = getpid();
	s->ctx = cipher_new(&s->scope, s->sid, 1, e);
	return s->ctx ? 0 : NE_INTERNAL;
}

int sealer_new(struct sealer **out, const struct key *key, uint32_t epoch, enum seal_kind kind,
	       struct slice user, struct slice peer, random_fn random, void *random_ctx,
	       struct err *e)
{
	struct sealer *s = calloc(1, sizeof *s);

	if (!s)
		return err_set(e, NE_MEMORY, "no memory for a sealer");
	s->random = random;
	s->random_ctx = random_ctx;
	s->limit = seals_per_sid;
	int rc = scope_init(&s->scope, key, epoch, kind, user, peer, e);
	if (!rc)
		rc = sealer_renew(s, e);
	if (rc) {
		sealer_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->ctx);
	OPENSSL_cleanse(s, sizeof *s);
	free(s);
}

void sealer_set_limit(struct sealer *s, uint64_t seals)
{
	s->limit = seals < seals_per_sid ? seals : seals_per_sid;
}

/* The last 8 bytes count; fewer than 2^64 are ever drawn from one start. */
static void next_iv(uint8_t iv[static IV_LEN])
{
	for (int i = IV_LEN - 1; i >= IV_LEN - 8; i--)
		if (++iv[i] != 0)
			return;
}

static size_t put_bytes_head(uint8_t *out, size_t len)
{
	struct context head = {0};
	static const uint8_t major = 0x40; /* byte string */

	context_uint(&head, len);
	memcpy(out, head.at, head.len);
	out[0] |= major;
	return head.len;
}

static bool encrypt(struct sealer *s, struct slice plain, const struct context *aad, uint8_t *out)
{
	int n = 0, rest = 0, ignored;

	return EVP_EncryptInit_ex(s->ctx, NULL, NULL, NULL, s->iv) == 1 &&
	       EVP_EncryptUpdate(s->ctx, NULL, &ignored, aad->at, (int)aad->len) == 1 &&
	       EVP_EncryptUpdate(s->ctx, out, &n, plain.at, (int)plain.len) == 1 &&
	       EVP_EncryptFinal_ex(s->ctx, out + n, &rest) == 1 && (size_t)n == plain.len &&
	       rest == 0 &&
	       EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_GET_TAG, TAG_LEN, out + n) == 1;
}

int sealer_seal(struct sealer *s, struct slice plain, struct buf *out, struct err *e)
{
	struct context aad = {0};

	if (plain.len == 0 || plain.len > PLAIN_MAX)
		return err_set(e, NE_LIMIT, "a message of %zu bytes cannot be sealed", plain.len);
	if (!s->ctx || s->sealed >= s->limit || s->pid != getpid())
		TRY(sealer_renew(s, e));
	int rc = buf_reserve(out, HEADER_LEN + HEAD_MAX + plain.len + TAG_LEN);
	if (rc)
		return err_set(e, rc, "a sealed message does not fit in %zu bytes", out->max);
	s->sealed++;
	next_iv(s->iv);
	uint8_t *at = out->at + out->len;
	put_header(at, s->scope.epoch, s->sid, s->iv);
	put_aad(&aad, &s->scope, at + AT_PROTECTED);
	size_t head = put_bytes_head(at + HEADER_LEN, plain.len + TAG_LEN);
	if (aad.full || !encrypt(s, plain, &aad, at + HEADER_LEN + head)) {
		EVP_CIPHER_CTX_free(s->ctx);
		s->ctx = NULL;
		return err_set(e, NE_INTERNAL, "a message could not be sealed");
	}
	out->len += HEADER_LEN + head + plain.len + TAG_LEN;
	return 0;
}

/* A message taken apart; all of it borrows. */
struct sealed {
	uint32_t epoch;
	const uint8_t *protected_header, *sid, *iv;
	struct slice cipher; /* without the tag */
	const uint8_t *tag;
};

static bool parse_bytes_head(struct slice *rest)
{
	uint8_t want[CONTEXT_MAX];

	/* There is only one right head for the bytes there are: the shortest. */
	for (size_t head = 1; head <= HEAD_MAX && head < rest->len; head++) {
		size_t len = rest->len - head;
		if (put_bytes_head(want, len) == head && memcmp(rest->at, want, head) == 0) {
			*rest = slice_of(rest->at + head, len);
			return true;
		}
	}
	return false;
}

static int parse(struct slice in, struct sealed *out, struct err *e)
{
	uint8_t want[HEADER_LEN];

	if (in.len <= HEADER_LEN || in.len > PLAIN_MAX)
		goto refuse;
	out->epoch = 0;
	for (int i = 0; i < 4; i++)
		out->epoch = out->epoch << 8 | in.at[AT_KID + i];
	out->protected_header = in.at + AT_PROTECTED;
	out->sid = in.at + AT_SID;
	out->iv = in.at + AT_IV;
	put_header(want, out->epoch, out->sid, out->iv);
	if (memcmp(want, in.at, HEADER_LEN) != 0)
		goto refuse;
	struct slice rest = slice_of(in.at + HEADER_LEN, in.len - HEADER_LEN);
	if (!parse_bytes_head(&rest) || rest.len <= TAG_LEN)
		goto refuse;
	out->cipher = slice_of(rest.at, rest.len - TAG_LEN);
	out->tag = rest.at + out->cipher.len;
	return 0;
refuse:
	return err_set(e, NE_MALFORMED, "a message is not sealed in our one shape");
}

int seal_peek(struct slice sealed, uint32_t *epoch, struct err *e)
{
	struct sealed m;

	TRY(parse(sealed, &m, e));
	*epoch = m.epoch;
	return 0;
}

struct opener {
	struct scope scope;
	struct kept {
		uint8_t sid[SID_LEN];
		EVP_CIPHER_CTX *ctx;
	} kept[OPENER_SIDS]; /* newest use first; NULL ctx: free */
};

int opener_new(struct opener **out, const struct key *key, uint32_t epoch, enum seal_kind kind,
	       struct slice user, struct slice peer, struct err *e)
{
	struct opener *o = calloc(1, sizeof *o);

	if (!o)
		return err_set(e, NE_MEMORY, "no memory for an opener");
	int rc = scope_init(&o->scope, key, epoch, kind, user, peer, e);
	if (rc) {
		opener_free(o);
		return rc;
	}
	*out = o;
	return 0;
}

void opener_free(struct opener *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < OPENER_SIDS; i++)
		EVP_CIPHER_CTX_free(o->kept[i].ctx);
	OPENSSL_cleanse(o, sizeof *o);
	free(o);
}

static EVP_CIPHER_CTX *take_kept(struct opener *o, const uint8_t sid[static SID_LEN])
{
	for (size_t i = 0; i < OPENER_SIDS; i++) {
		EVP_CIPHER_CTX *ctx = o->kept[i].ctx;
		if (!ctx || memcmp(o->kept[i].sid, sid, SID_LEN) != 0)
			continue;
		memmove(&o->kept[i], &o->kept[i + 1], (OPENER_SIDS - 1 - i) * sizeof o->kept[0]);
		o->kept[OPENER_SIDS - 1].ctx = NULL;
		return ctx;
	}
	return NULL;
}

static void keep(struct opener *o, const uint8_t sid[static SID_LEN], EVP_CIPHER_CTX *ctx)
{
	EVP_CIPHER_CTX_free(o->kept[OPENER_SIDS - 1].ctx);
	memmove(&o->kept[1], &o->kept[0], (OPENER_SIDS - 1) * sizeof o->kept[0]);
	memcpy(o->kept[0].sid, sid, SID_LEN);
	o->kept[0].ctx = ctx;
}

static bool decrypt(EVP_CIPHER_CTX *ctx, const struct sealed *m, const struct context *aad,
		    uint8_t *out)
{
	int n = 0, rest = 0, ignored;

	return EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, m->iv) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &ignored, aad->at, (int)aad->len) == 1 &&
	       EVP_DecryptUpdate(ctx, out, &n, m->cipher.at, (int)m->cipher.len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LEN, (void *)m->tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, out + n, &rest) == 1 && (size_t)n == m->cipher.len &&
	       rest == 0;
}

int opener_open(struct opener *o, struct slice sealed, struct buf *out, struct err *e)
{
	struct context aad = {0};
	struct sealed m;

	TRY(parse(sealed, &m, e));
	if (m.epoch != o->scope.epoch)
		return err_set(e, NE_AUTH, "a message is sealed under epoch %u, not %u", m.epoch,
			       o->scope.epoch);
	int rc = buf_reserve(out, m.cipher.len);
	if (rc)
		return err_set(e, rc, "an opened message does not fit in %zu bytes", out->max);
	EVP_CIPHER_CTX *ctx = take_kept(o, m.sid);
	bool known = ctx != NULL;
	if (!ctx)
		ctx = cipher_new(&o->scope, m.sid, 0, e);
	if (!ctx)
		return NE_INTERNAL;
	put_aad(&aad, &o->scope, m.protected_header);
	bool good = !aad.full && decrypt(ctx, &m, &aad, out->at + out->len);
	/* A forger's sids push none of the real ones out. */
	if (good || known)
		keep(o, m.sid, ctx);
	else
		EVP_CIPHER_CTX_free(ctx);
	if (!good) {
		OPENSSL_cleanse(out->at + out->len, m.cipher.len);
		return err_set(e, NE_AUTH, "a message's seal is wrong");
	}
	out->len += m.cipher.len;
	return 0;
}
