// SPDX-License-Identifier: Apache-2.0
// One-shot probes and the two clients that keep going: an established TCP stream, and UDP at a steady pace.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void on_signal(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static void stop_on_signal(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* 0 when `fd` became ready for `events` before `deadline`, else ETIMEDOUT. */
static int wait_ready(int fd, short events, double deadline)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		double left = deadline - now_ms();
		int n;

		if (left <= 0)
			return ETIMEDOUT;
		n = poll(&p, 1, (int)left + 1);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return errno;
	}
}

static int finish_connect(int fd, const struct place *to, double deadline)
{
	int error = 0;
	socklen_t size = sizeof(error);

	set_nonblocking(fd);
	if (connect(fd, &to->any, to->size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	error = wait_ready(fd, POLLOUT, deadline);
	if (error != 0)
		return error;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

static int exchange(int fd, const char *text, char *reply, ssize_t *got, double deadline)
{
	int error;

	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return errno;
	error = wait_ready(fd, POLLIN, deadline);
	if (error != 0)
		return error;
	*got = recv(fd, reply, MESSAGE_MAX, 0);
	if (*got < 0)
		return errno;
	return *got == 0 ? ECONNRESET : 0;
}

static int report(int error, const char *success, double start, const char *reply, ssize_t length)
{
	print_result(error == 0 ? success : failure_name(error), now_ms() - start, reply, length > 0 ? length : 0);
	return error == 0 ? 0 : 1;
}

/* connect IP PORT TIMEOUT_MS [TEXT|-] [SOURCE_IP]: TEXT `-` = only the handshake. */
int command_connect(int argc, char **argv)
{
	char reply[MESSAGE_MAX];
	ssize_t got = 0;
	double start = now_ms();
	int fd, error;
	struct place to;

	if (argc < 3)
		usage("connect IP PORT TIMEOUT_MS [TEXT|-] [SOURCE_IP]");
	to = place_of(argv[0], argv[1]);
	fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	bind_source(fd, argc > 4 ? argv[4] : NULL);
	error = finish_connect(fd, &to, start + atof(argv[2]));
	if (error == 0 && argc > 3 && strcmp(argv[3], "-") != 0)
		error = exchange(fd, argv[3], reply, &got, start + atof(argv[2]));
	return report(error, "ok", start, reply, got);
}

/* udp IP PORT TIMEOUT_MS TEXT [SOURCE_IP] */
int command_udp(int argc, char **argv)
{
	char reply[MESSAGE_MAX];
	ssize_t got = 0;
	double start = now_ms();
	int fd, error = 0;
	struct place to;

	if (argc < 4)
		usage("udp IP PORT TIMEOUT_MS TEXT [SOURCE_IP]");
	to = place_of(argv[0], argv[1]);
	fd = socket(to.any.sa_family, SOCK_DGRAM, 0);
	bind_source(fd, argc > 4 ? argv[4] : NULL);
	if (connect(fd, &to.any, to.size) < 0)
		error = errno;
	if (error == 0)
		error = exchange(fd, argv[3], reply, &got, start + atof(argv[2]));
	return report(error, "ok", start, reply, got);
}

/* stream IP PORT INTERVAL_MS: one connection, one message per interval; a JSON line per message with what came back. */
int command_stream(int argc, char **argv)
{
	char reply[MESSAGE_MAX], text[32];
	struct place to;
	double interval, last_reply;
	unsigned long sent = 0, bytes_sent = 0, bytes_back = 0;
	int fd, error;

	if (argc < 3)
		usage("stream IP PORT INTERVAL_MS");
	stop_on_signal();
	to = place_of(argv[0], argv[1]);
	interval = atof(argv[2]);
	fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	error = finish_connect(fd, &to, now_ms() + 5000);
	if (error != 0) {
		printf("{\"state\":\"%s\"}\n", failure_name(error));
		return 1;
	}
	last_reply = now_ms();
	while (!stopped) {
		double next = now_ms() + interval;
		ssize_t n;

		n = snprintf(text, sizeof(text), "%08lu\n", sent);
		if (send(fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) == n) {
			sent++;
			bytes_sent += n;
		}
		while (wait_ready(fd, POLLIN, next) == 0) {
			n = recv(fd, reply, sizeof(reply), MSG_DONTWAIT);
			if (n <= 0 && errno != EAGAIN) {
				printf("{\"state\":\"%s\"}\n", n == 0 ? "closed" : failure_name(errno));
				return 1;
			}
			if (n > 0) {
				bytes_back += n;
				last_reply = now_ms();
			}
		}
		printf("{\"state\":\"open\",\"sent\":%lu,\"bytesSent\":%lu,\"bytesBack\":%lu,\"silentMs\":%.1f}\n", sent, bytes_sent, bytes_back,
		       now_ms() - last_reply);
	}
	return 0;
}

struct pace {
	int fd;
	unsigned long sent, received, duplicates, errors;
	double last_reply, first_reply, max_gap;
	unsigned char *seen;
	unsigned long capacity;
};

static void take_replies(struct pace *pace)
{
	char reply[MESSAGE_MAX];
	ssize_t n;

	while ((n = recv(pace->fd, reply, sizeof(reply) - 1, MSG_DONTWAIT)) != -1 || errno == ECONNREFUSED) {
		unsigned long number;
		double now = now_ms();

		if (n < 0) {
			pace->errors++;
			continue;
		}
		reply[n] = 0;
		number = strtoul(reply, NULL, 10);
		if (number >= pace->capacity || pace->seen[number]) {
			pace->duplicates++;
			continue;
		}
		pace->seen[number] = 1;
		pace->received++;
		if (pace->first_reply == 0)
			pace->first_reply = now;
		if (pace->last_reply != 0 && now - pace->last_reply > pace->max_gap)
			pace->max_gap = now - pace->last_reply;
		pace->last_reply = now;
	}
}

static void print_pace(const struct pace *pace, const char *state)
{
	printf("{\"state\":\"%s\",\"sent\":%lu,\"received\":%lu,\"duplicates\":%lu,\"errors\":%lu,\"maxGapMs\":%.1f,\"silentMs\":%.1f}\n", state,
	       pace->sent, pace->received, pace->duplicates, pace->errors, pace->max_gap, pace->last_reply == 0 ? -1 : now_ms() - pace->last_reply);
}

/* pace IP PORT PACKETS_PER_SECOND: numbered datagrams to an echo server until SIGTERM; then the sum after a last wait. */
int command_pace(int argc, char **argv)
{
	struct pace pace = {.capacity = 1 << 22};
	struct sockaddr_in to;
	double interval, next, next_line;

	if (argc < 3)
		usage("pace IP PORT PACKETS_PER_SECOND");
	stop_on_signal();
	to = address_of(argv[0], argv[1]);
	interval = 1000 / atof(argv[2]);
	pace.seen = calloc(pace.capacity, 1);
	pace.fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (pace.seen == NULL || connect(pace.fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("pace");
	next = now_ms();
	next_line = next + 100;
	while (!stopped && pace.sent < pace.capacity) {
		char text[32];
		int n = snprintf(text, sizeof(text), "%lu\n", pace.sent);

		if (send(pace.fd, text, n, 0) < 0 && errno != ECONNREFUSED)
			pace.errors++;
		pace.sent++;
		next += interval;
		while (!stopped && wait_ready(pace.fd, POLLIN, next) == 0)
			take_replies(&pace);
		if (now_ms() >= next_line) {
			print_pace(&pace, "running");
			next_line += 100;
		}
	}
	next = now_ms() + 500;
	while (pace.received < pace.sent && wait_ready(pace.fd, POLLIN, next) == 0)
		take_replies(&pace);
	print_pace(&pace, "done");
	return 0;
}

/* flows IP PORT COUNT PACKETS: COUNT sockets (source ports), PACKETS datagrams each; how many flows were answered. */
int command_flows(int argc, char **argv)
{
	struct sockaddr_in to;
	int count, packets, answered = 0;

	if (argc < 4)
		usage("flows IP PORT COUNT PACKETS");
	to = address_of(argv[0], argv[1]);
	count = atoi(argv[2]);
	packets = atoi(argv[3]);
	for (int i = 0; i < count; i++) {
		char reply[MESSAGE_MAX];
		ssize_t got = 0;
		int fd = socket(AF_INET, SOCK_DGRAM, 0), good = 0;

		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
			fail("connect");
		for (int j = 0; j < packets; j++)
			good += exchange(fd, "flow", reply, &got, now_ms() + 1000) == 0;
		answered += good > 0;
		close(fd);
	}
	printf("{\"flows\":%d,\"answered\":%d}\n", count, answered);
	return 0;
}

/* talk PORT: each line of stdin, `IP TEXT`, is sent as a datagram; each answer is printed as a line. All from one socket. */
int command_talk(int argc, char **argv)
{
	struct pollfd polls[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
	char text[MESSAGE_MAX];
	int fd;

	if (argc < 1)
		usage("talk PORT");
	fd = polls[1].fd = socket(AF_INET, SOCK_DGRAM, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	puts("ready");
	while (poll(polls, 2, -1) >= 0) {
		ssize_t n;

		if (polls[1].revents && (n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0)
			printf("%.*s\n", (int)n, text);
		if (polls[0].revents) {
			struct sockaddr_in to;
			char *message;

			if (fgets(text, sizeof(text), stdin) == NULL)
				return 0;
			text[strcspn(text, "\n")] = 0;
			message = strchr(text, ' ');
			if (message == NULL)
				usage("talk PORT: lines are `IP TEXT`");
			*message++ = 0;
			to = address_of(text, argv[0]);
			sendto(fd, message, strlen(message), 0, (struct sockaddr *)&to, sizeof(to));
		}
	}
	return 1;
}
