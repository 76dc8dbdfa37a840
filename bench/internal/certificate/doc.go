// Package certificate makes the one certificate that all measured servers have, and says how TLS is spoken with it, so that
// none of them has an advantage: TLS 1.3 with TLS_AES_128_GCM_SHA256 over X25519, and ECDSA over P-256.
package certificate
