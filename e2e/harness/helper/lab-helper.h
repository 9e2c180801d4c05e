// SPDX-License-Identifier: Apache-2.0
// Shared pieces of the lab's helper: time, addresses, JSON-safe output, the sub-commands.
#ifndef LAB_HELPER_H
#define LAB_HELPER_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#define MESSAGE_MAX 2048

double now_ms(void);
void fail(const char *what) __attribute__((noreturn));
void usage(const char *text) __attribute__((noreturn));
struct sockaddr_in address_of(const char *ip, const char *port);
/* IPv4 is written as such also where the socket is one of IPv6. */
void format_peer(const struct sockaddr_in6 *peer, char *out, size_t size);

/* An address of either family, as connect and bind take it. */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t size;
};

struct place place_of(const char *ip, const char *port);
void print_json_string(const char *text, size_t length);
/* One line of JSON for a probe that has ended. */
void print_result(const char *result, double ms, const char *reply, size_t length);
/* "reset", "refused", "unreachable", "timeout" or the errno's own name: a drop must be told from a rejection. */
const char *failure_name(int error);
/* Binds to `ip` when it is not NULL: the client's source address. */
void bind_source(int fd, const char *ip);
void set_nonblocking(int fd);

int command_serve(int argc, char **argv);
int command_connect(int argc, char **argv);
int command_udp(int argc, char **argv);
int command_probes(int argc, char **argv);
int command_stream(int argc, char **argv);
int command_pace(int argc, char **argv);
int command_flows(int argc, char **argv);
int command_talk(int argc, char **argv);
int command_relay(int argc, char **argv);
int command_eager(int argc, char **argv);
int command_attach(int argc, char **argv);
int command_volley(int argc, char **argv);
int command_mirror(int argc, char **argv);
int command_torture(int argc, char **argv);
int command_bulk(int argc, char **argv);

#endif
