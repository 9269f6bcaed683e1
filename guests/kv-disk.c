/* The server of kv.c, which also writes each change to its disk before it replies, and finds its
 * keys there when it starts again. The disk has 2 MiB or more; its first block is zero at first.
 *
 * Status: 1 if the disk fails or what it holds exceeds memory; 2 if the disk is too small or holds
 * something else. */
#include "manifest.h"

GUEST_MANIFEST(NET_DEVICE("net"), BLOCK_DEVICE("disk"));
