#include "device/shell/nodelay.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

static bool peer_port_is(int fd, uint16_t port)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;

	if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
		return false;
	if (peer.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&peer)->sin_port) == port;
	if (peer.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&peer)->sin6_port) == port;
	return false;
}

unsigned nodelay_set(uint16_t port)
{
	const int on = 1;
	const unsigned timeout_ms = NODELAY_USER_TIMEOUT_MS;
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		char *end;
		long fd = strtol(entry->d_name, &end, 10);

		if (*end || end == entry->d_name || !peer_port_is((int)fd, port))
			continue;
		if (setsockopt((int)fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
			n++;
		(void)setsockopt((int)fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
				 sizeof timeout_ms);
	}
	closedir(dir);
	return n;
}
