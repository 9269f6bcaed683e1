/* A cookie: 24 bits of a hash, the lowest bit of the epoch, window scale, index of the MSS. */
#include "cookie.h"

#include "hash.h"
#include "wire.h"

enum {
    FIELDS = 8, /* bits */
    SIZES = 8,
    UNSCALED = 15, /* in place of a window scale, which is 14 at most */
};

#define EPOCH (64 * 1000000000ull) /* ns; a cookie is good until the end of the next */

static const uint16_t sizes[SIZES] = {64, 536, 1024, 1220, 1360, 1400, 1440, 1460};
static uint64_t secret[2];
static uint64_t useful_until; /* before this time there may be a cookie that is good */

void cookie_start(uint64_t seed)
{
    secret[0] = mix(seed);
    secret[1] = mix(secret[0] + 1);
    useful_until = 0;
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t cookie_hash(uint64_t first, uint64_t second)
{
    const uint64_t words[] = {first, second, (uint64_t)16 << 56};
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d,
                     secret[0] ^ 0x6c7967656e657261, secret[1] ^ 0x7465646279746573};
    for (unsigned i = 0; i < 3; i++) {
        v[3] ^= words[i];
        sip_round(v);
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t seal(tcp_key key, uint32_t start, uint64_t epoch, uint32_t fields)
{
    uint64_t hash = cookie_hash(key, (uint64_t)start << 32 | (uint32_t)(epoch << FIELDS) | fields);
    return (uint32_t)hash << FIELDS | fields;
}

uint32_t cookie_make(const struct segment *syn)
{
    uint64_t epoch = net_now() / EPOCH;
    uint32_t size = SIZES - 1;
    while (size && sizes[size] > syn->mss)
        size--;
    useful_until = (epoch + 2) * EPOCH;
    uint32_t scale = syn->scaled ? syn->scale : UNSCALED;
    return seal(syn->key, syn->sequence, epoch, (uint32_t)(epoch & 1) << 7 | scale << 3 | size);
}

bool cookie_accept(struct segment *segment)
{
    if (net_now() >= useful_until)
        return false;
    uint32_t cookie = segment->ack - 1, fields = cookie & ((1u << FIELDS) - 1);
    uint64_t epoch = net_now() / EPOCH;
    epoch -= (epoch ^ fields >> 7) & 1;
    if (seal(segment->key, segment->sequence - 1, epoch, fields) != cookie)
        return false;
    uint32_t scale = fields >> 3 & 15;
    segment->scaled = scale != UNSCALED;
    segment->scale = segment->scaled ? (uint8_t)scale : 0;
    segment->mss = sizes[fields % SIZES];
    return true;
}
