// SPDX-License-Identifier: Apache-2.0
// Request/response over TCP, one byte each way: `rr server PORT`, `rr client ADDRESS PORT ROUNDS [connect]`.
// The client prints one JSON line with nanoseconds; with `connect`, each round is connect + byte + byte + reset. `rr calibrate` times
// the machine itself.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "rr: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct timeval limit = {.tv_sec = 5};

	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

static void echo_connection(int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
		;
	close(fd);
}

static _Noreturn void serve(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 512))
		fail("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int connection = accept(fd, NULL, NULL);

		if (connection < 0)
			continue;
		setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		echo_connection(connection);
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void round_trip(int fd)
{
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		fail("round trip");
}

static int measure(const char *host, int port, int rounds, int reconnect)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	uint64_t *took = calloc(rounds, sizeof(*took)), sum = 0;
	int fd = -1;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || !took)
		fail("arguments");
	for (int i = -50; i < rounds; i++) {	/* the first 50 warm up */
		uint64_t start = now_ns();

		if (fd < 0) {
			fd = tcp_socket();
			if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
				fail("connect");
		}
		round_trip(fd);
		if (reconnect) {
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fd);
			fd = -1;
		}
		if (i >= 0)
			took[i] = now_ns() - start;
	}
	qsort(took, rounds, sizeof(*took), by_value);
	for (int i = 0; i < rounds; i++)
		sum += took[i];
	printf("{\"rounds\":%d,\"p50\":%llu,\"p99\":%llu,\"mean\":%llu}\n", rounds, (unsigned long long)took[rounds / 2],
	       (unsigned long long)took[rounds * 99LL / 100], (unsigned long long)(sum / rounds));
	return 0;
}

#define LOAD_BYTES (64u << 20)
#define LINE_WORDS (64 / sizeof(uint32_t))

/* One cycle through all cache lines of 64 MB in random order: each load needs the one before. */
static uint32_t *random_cycle(uint32_t lines)
{
	uint32_t *memory = malloc(LOAD_BYTES), *order = malloc(lines * sizeof(*order));
	uint64_t state = 88172645463325252u;

	if (!memory || !order)
		fail("malloc");
	for (uint32_t i = 0; i < lines; i++)
		order[i] = i;
	for (uint32_t i = lines - 1; i > 0; i--) {
		uint32_t j, swap = order[i];

		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		j = state % (i + 1);
		order[i] = order[j];
		order[j] = swap;
	}
	for (uint32_t i = 0; i < lines; i++)
		memory[order[i] * LINE_WORDS] = order[(i + 1) % lines];
	free(order);
	return memory;
}

/* The machine itself: an empty system call and a random load, best of five. */
static int calibrate(void)
{
	const uint32_t lines = LOAD_BYTES / 64, calls = 1000000, loads = 2000000;
	uint32_t *memory = random_cycle(lines);
	volatile uint32_t at = 0;
	uint64_t syscall_ns = UINT64_MAX, load_ns = UINT64_MAX;

	for (int round = 0; round < 5; round++) {
		uint64_t start = now_ns(), took;

		for (uint32_t i = 0; i < calls; i++)
			syscall(SYS_getppid);
		took = now_ns() - start;
		syscall_ns = took < syscall_ns ? took : syscall_ns;
		start = now_ns();
		for (uint32_t i = 0; i < loads; i++)
			at = memory[at * LINE_WORDS];
		took = now_ns() - start;
		load_ns = took < load_ns ? took : load_ns;
	}
	printf("{\"syscallNs\":%.1f,\"loadNs\":%.1f}\n", (double)syscall_ns / calls, (double)load_ns / loads);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "server"))
		serve(atoi(argv[2]));
	if (argc >= 5 && !strcmp(argv[1], "client") && atoi(argv[4]) > 0)
		return measure(argv[2], atoi(argv[3]), atoi(argv[4]), argc > 5 && !strcmp(argv[5], "connect"));
	if (argc == 2 && !strcmp(argv[1], "calibrate"))
		return calibrate();
	fprintf(stderr, "usage: rr calibrate | rr server PORT | rr client ADDRESS PORT ROUNDS [connect]\n");
	return 2;
}
