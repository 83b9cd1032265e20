/* Access tokens: nothing without our signature is accepted, and nothing crashes. */
#include <assert.h>
#include <stdlib.h>

#include "protocol/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
			  "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE745gt/Vq4QcBhcWSHIYBT0WlIjIE\n"
			  "VqfsXa4IZvTFOW9HD3p8hrjnvia7OfS+zbwqqnJ4MjrUVCzyMQHqXzIS1Q==\n"
			  "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	static struct jwt_keys *keys;
	struct jwt_claims claims = {.iat = -7};
	struct err e;

	if (!keys && (jwt_keys_new(&keys, &e) || jwt_keys_add(keys, slice_str(pem), &e)))
		abort();
	if (jwt_verify(keys, slice_of(at, len), 1790000010, &claims, &e)) {
		assert(e.code == NE_AUTH || e.code == NE_MALFORMED);
		assert(claims.iat == -7);
	} else {
		assert(id_valid(id_slice(&claims.user)) && id_valid(id_slice(&claims.device)));
		assert(claims.exp > 1790000010 - JWT_LEEWAY_S);
	}
	return 0;
}
