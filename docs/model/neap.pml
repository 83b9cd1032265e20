/*
 * A model of Neap's sync protocol for Spin: cursor, hold, acknowledgement, broadcast, pull, reset and
 * term, for merge tables. docs/model/README.md says what is in it, what is not, and how to read a trail.
 *
 * One account, ND devices, two rows (keys) of one cell each. A value is named by the stamp of the
 * write that made it, so two ends are equal when they name the same values.
 *
 * The network is the set of all that was ever sent: a message is taken any number of times, at any
 * later moment, or never. That is loss, repetition, delay and reordering in one. What a device does
 * not take from a closed question (another nonce) it cannot take here either: one answer per device.
 *
 * Two phases. First chaos: writes, restarts, restores and messages in any order, within the bounds
 * below. Then, from any moment on, healing: no more faults and only steps that have something to do.
 * Healing has to end (no cycle without progress, `pan -l`) and its end is equality (assertions).
 *
 * Each NO_… switch takes one rule out; docs/model/check.sh shows that Spin notices.
 */
#ifndef WRITES
#define WRITES 3 /* by all devices together */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of devices */
#endif
#ifndef RESTARTS
#define RESTARTS 1 /* of the server */
#endif
#ifndef RESTORES
#define RESTORES 0 /* of its store, from a copy taken at any time */
#endif

#define ND 2
#define NK 2
#define NT (2 + RESTARTS + RESTORES) /* terms, counted from 1 */
/* A set gives one seq at most, and a device cuts a write again only when its last set was not committed. */
#define NS (WRITES + 3)

/* Stamps: a clock and, below it, the site, so that no two writes share one. 0: none. */
#define STAMP(t, d) ((t) * ND + (d))
#define CLOCK(s) ((s) / ND)
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* What the server keeps of a row: registers of existence and cell, and the cell's value. */
typedef row {
	byte e;
	bit alive;
	byte c;
	byte v
};

/* What a set says of a row, as cut; what a page or broadcast says of one, as it stands. */
#define NONE 0
#define CELL 1
#define WHOLE 2
typedef news {
	byte kind;
	byte e;
	bit alive;
	byte c;
	byte v
};
typedef newses {
	news k[NK]
};

typedef cut_row {
	byte e; /* 0: no insert or delete */
	bit alive;
	byte c; /* 0: no cell */
	byte v
};

/* A device's row: the app's table, and the marks with the stamps of pending writes. */
typedef local_row {
	bit alive;
	byte v;
	byte me; /* pending insert or delete */
	byte mc; /* pending write of the cell */
	bit ge;	 /* … carried by the set in flight and not written since */
	bit gc
};

#define PAGE 1
#define RESET 2
typedef device {
	local_row k[NK];
	byte term, cursor, hold;
	bit fresh; /* a full pull is under way */
	bit seen[NK];
	byte clock; /* greatest of the stamps known */

	/* The set in flight. */
	bit flying;
	byte number, prev;
	cut_row said[NK];
	bit acked, overtaken;
	byte ahead, own; /* of the ack */
	byte given, committed;

	bit ask_hello;

	/* The answer to the question last asked. */
	byte ans;
	byte at_term, at_cursor;
	bit at_full;
	byte a_term, a_upto, a_head;
	newses page
};
device dev[ND];

typedef site {
	byte last, own; /* newest set committed, and its own seq */
};
typedef store {
	row k[NK];
	byte seq[NK]; /* newest seq of each row */
	byte head;
	site by[ND];
	bit knows[NT + 1]; /* terms this store knows */
};
store srv, copy;
bit copied;
byte term = 1;	      /* the server's */
byte first[NT + 1];   /* first seq of each term */

/* All that was ever broadcast, by term and seq: bc[term * (NS + 1) + seq]. */
typedef broadcast {
	newses rows;
	byte origin /* ND: the server */
};
broadcast bc[(NT + 1) * (NS + 1)];
byte sent_to[NT + 1]; /* newest seq broadcast in a term */
#define BC(t, s) bc[(t) * (NS + 1) + (s)]
/* Row k as it stood at seq s in term t: what a device whose cursor is there has to have. */
typedef history {
	row k[NK]
};
history was[(NT + 1) * (NS + 1)];
#define WAS(t, s) was[(t) * (NS + 1) + (s)]

/* All acknowledgements ever sent of the set a device has in flight, by term: a bit per head. */
typedef acks {
	short heads[NT + 1];
	byte own[NT + 1]
};
acks ack[ND];

byte writes_left = WRITES, crashes_left = CRASHES, restarts_left = RESTARTS, restores_left = RESTORES;
bit healing, done;

/* Scratch, always 0 between steps. */
byte i, x, y;
bit lost, any;

/* ---- the device ---- */

#define PENDING(d) \
	(dev[d].k[0].me || dev[d].k[0].mc || dev[d].k[1].me || dev[d].k[1].mc)
#define SETTLED(d, i) (!dev[d].k[i].me && !dev[d].k[i].mc)

inline overtake(d)
{
	dev[d].overtaken = 1
}

/* A local write: op 0 insert, 1 update, 2 delete; `late`: this device's clock is ahead. */
inline write(d, kk, op, late)
{
	dev[d].clock = dev[d].clock + 1 + late;
	x = STAMP(dev[d].clock, d);
	if
	:: op == 0 ->
		dev[d].k[kk].alive = 1;
		dev[d].k[kk].v = x;
		dev[d].k[kk].me = x;
		dev[d].k[kk].mc = x;
		dev[d].k[kk].ge = 0;
		dev[d].k[kk].gc = 0
	:: op == 1 ->
		dev[d].k[kk].v = x;
		dev[d].k[kk].mc = x;
		dev[d].k[kk].gc = 0
	:: op == 2 ->
		dev[d].k[kk].alive = 0;
		dev[d].k[kk].v = 0;
		dev[d].k[kk].me = x;
		dev[d].k[kk].mc = 0;
		dev[d].k[kk].ge = 0;
		dev[d].k[kk].gc = 0
	fi;
	x = 0;
	writes_left--
}

/* Incoming existence, then incoming cell (protocol.md, "At the device"). */
inline take_row(d, i, n)
{
	dev[d].clock = MAX(dev[d].clock, MAX(CLOCK(n.e), CLOCK(n.c)));
	if
	:: n.kind == WHOLE && !(dev[d].k[i].me > n.e) ->
		if
		:: !n.alive ->
			if
			:: !SETTLED(d, i) -> overtake(d)
			:: else
			fi;
			dev[d].k[i].alive = 0;
			dev[d].k[i].v = 0;
			dev[d].k[i].me = 0;
			dev[d].k[i].mc = 0
		:: else ->
			if
			:: dev[d].k[i].me -> dev[d].k[i].me = 0; overtake(d)
			:: else
			fi;
			if
			:: !dev[d].k[i].alive -> dev[d].k[i].alive = 1; dev[d].k[i].v = 0
			:: else
			fi;
			if
			:: dev[d].k[i].mc && dev[d].k[i].mc < n.e -> dev[d].k[i].mc = 0; overtake(d)
			:: else
			fi
		fi
	:: else
	fi;
	if
	:: dev[d].k[i].alive && !(dev[d].k[i].mc && dev[d].k[i].mc >= n.c) &&
	   !(dev[d].k[i].me > n.c) && (n.kind == CELL || n.alive) ->
		dev[d].k[i].v = n.v;
		if
		:: dev[d].k[i].mc -> dev[d].k[i].mc = 0; overtake(d)
		:: else
		fi
	:: else
	fi
}

/* Whoever is at (term, cursor) has what the server had there, but for pending rows. */
inline check_place(d)
{
	if
	:: !dev[d].fresh && dev[d].cursor >= dev[d].hold ->
		i = 0;
		do
		:: i < NK ->
			assert(!SETTLED(d, i) ||
			       (dev[d].k[i].alive == WAS(dev[d].term, dev[d].cursor).k[i].alive &&
				(!dev[d].k[i].alive ||
				 dev[d].k[i].v == WAS(dev[d].term, dev[d].cursor).k[i].v)));
			i++
		:: else -> i = 0; break
		od
	:: else
	fi
}

#ifdef NO_CLEAR_LATE
#define MAY_SETTLE(d) (dev[d].flying && dev[d].acked && !dev[d].fresh)
#else
#define MAY_SETTLE(d) \
	(dev[d].flying && dev[d].acked && !dev[d].fresh && dev[d].cursor >= dev[d].ahead)
#endif

inline land(d) /* the set is no longer in flight */
{
	dev[d].flying = 0;
	dev[d].acked = 0;
	dev[d].overtaken = 0;
	dev[d].own = 0;
	dev[d].ahead = 0;
	dev[d].prev = 0;
	dev[d].number = 0;
	i = 0;
	do
	:: i < NK ->
		dev[d].said[i].e = 0;
		dev[d].said[i].alive = 0;
		dev[d].said[i].c = 0;
		dev[d].said[i].v = 0;
		dev[d].k[i].ge = 0;
		dev[d].k[i].gc = 0;
		i++
	:: else -> i = 0; break
	od;
	i = 1;
	do
	:: i <= NT -> ack[d].heads[i] = 0; ack[d].own[i] = 0; i++
	:: else -> i = 0; break
	od
}

inline settle(d)
{
	assert(RESTORES || srv.by[d].last >= dev[d].number);
	i = 0;
	do
	:: i < NK ->
		if
#ifdef NO_GENERATION
		:: dev[d].said[i].e -> dev[d].k[i].me = 0
#else
		:: dev[d].k[i].ge -> dev[d].k[i].me = 0
#endif
		:: else
		fi;
		if
#ifdef NO_GENERATION
		:: dev[d].said[i].c -> dev[d].k[i].mc = 0
#else
		:: dev[d].k[i].gc -> dev[d].k[i].mc = 0
#endif
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od;
	dev[d].committed = MAX(dev[d].committed, dev[d].number);
	land(d);
	check_place(d)
}

inline cut(d)
{
	dev[d].given++;
	dev[d].flying = 1;
	dev[d].number = dev[d].given;
	dev[d].prev = dev[d].committed;
	i = 0;
	do
	:: i < NK ->
		dev[d].said[i].e = dev[d].k[i].me;
		dev[d].said[i].alive = (dev[d].k[i].me && dev[d].k[i].alive);
		if
		:: !dev[d].k[i].alive
		:: dev[d].k[i].alive && (dev[d].k[i].me || dev[d].k[i].mc) ->
			/* An insert carries every cell, at the later of the two stamps. */
			dev[d].said[i].c = MAX(dev[d].k[i].me, dev[d].k[i].mc);
			dev[d].said[i].v = dev[d].k[i].v
		:: else
		fi;
		dev[d].k[i].ge = (dev[d].k[i].me != 0);
		dev[d].k[i].gc = (dev[d].k[i].mc != 0);
		i++
	:: else -> i = 0; break
	od
}

/* Another term of the same store, whose positions carry over. */
inline adopt(d, tt)
{
	dev[d].term = tt;
	dev[d].acked = 0;
	dev[d].own = 0;
	dev[d].ahead = 0
}

inline begin_full(d, tt)
{
	adopt(d, tt);
	dev[d].hold = 0;
	dev[d].cursor = 0;
	dev[d].fresh = 1;
	dev[d].seen[0] = 0;
	dev[d].seen[1] = 0;
	dev[d].ask_hello = 1
}

/* ---- the server ---- */

/* Whether pages and broadcasts may continue from (tt, cc), where pages brought rows up to hh: x = 1 (rule P1). */
inline valid(tt, cc, hh)
{
	x = srv.knows[tt];
	i = tt + 1;
	do
	:: i <= NT && x ->
		if
		:: srv.knows[i] -> x = (cc < first[i] && hh < first[i]); break
		:: else -> i++
		fi
	:: else ->
		x = (x && cc <= srv.head && hh <= srv.head);
		break
	od;
#ifdef NO_TERM
	x = 1;
#endif
	i = 0
}

/* Joins the set of device d into the rows; what was taken is broadcast under the next seq. */
inline merge(d, n)
{
	any = 0;
	lost = 0;
	i = 0;
	do
	:: i < NK ->
		x = NONE;
		y = 0; /* lost in this row */
		if
		:: dev[d].said[i].e > srv.k[i].e ->
			srv.k[i].e = dev[d].said[i].e;
			srv.k[i].alive = dev[d].said[i].alive;
			if
			:: srv.k[i].c < srv.k[i].e -> srv.k[i].c = 0; srv.k[i].v = 0
			:: else
			fi;
			x = WHOLE
		:: dev[d].said[i].e && dev[d].said[i].e < srv.k[i].e -> y = 1
		:: else
		fi;
		if
		:: dev[d].said[i].c && (dev[d].said[i].c < srv.k[i].e || dev[d].said[i].c < srv.k[i].c) -> y = 1
		:: dev[d].said[i].c > srv.k[i].c && dev[d].said[i].c >= srv.k[i].e ->
			srv.k[i].c = dev[d].said[i].c;
			srv.k[i].v = dev[d].said[i].v;
			if
			:: srv.k[i].alive && x == NONE -> x = CELL
			:: else
			fi
		:: else
		fi;
		if
		:: y -> x = WHOLE; lost = 1 /* what was not taken as sent is corrected (P5) */
		:: else
		fi;
		n.k[i].kind = x;
		if
		:: x -> any = 1
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od;
	x = 0;
	y = 0
}

inline commit(d)
{
	assert(srv.head < NS);
	merge(d, BC(term, srv.head + 1).rows);
	if
	:: any ->
		srv.head++;
		sent_to[term] = srv.head;
		BC(term, srv.head).origin = (lost -> ND : d);
		i = 0;
		do
		:: i < NK ->
			if
			:: BC(term, srv.head).rows.k[i].kind ->
				srv.seq[i] = srv.head;
#ifdef NO_EFFECT
				BC(term, srv.head).rows.k[i].kind = (dev[d].said[i].e -> WHOLE : CELL);
				BC(term, srv.head).rows.k[i].e = dev[d].said[i].e;
				BC(term, srv.head).rows.k[i].alive = dev[d].said[i].alive;
				BC(term, srv.head).rows.k[i].c = dev[d].said[i].c;
				BC(term, srv.head).rows.k[i].v = dev[d].said[i].v
#else
				BC(term, srv.head).rows.k[i].e = srv.k[i].e;
				BC(term, srv.head).rows.k[i].alive = srv.k[i].alive;
				BC(term, srv.head).rows.k[i].c = srv.k[i].c;
				BC(term, srv.head).rows.k[i].v = srv.k[i].v
#endif
			:: else
			fi;
			WAS(term, srv.head).k[i].alive = srv.k[i].alive;
			WAS(term, srv.head).k[i].v = srv.k[i].v;
			i++
		:: else -> i = 0; break
		od
	:: else
	fi;
	srv.by[d].last = dev[d].number;
	srv.by[d].own = (any && !lost -> srv.head : 0);
	any = 0;
	lost = 0
}

/* The head an acknowledgement names. */
#ifdef NO_ACK_HEAD
#define ACK_HEAD(d) srv.by[d].own
#else
#define ACK_HEAD(d) srv.head
#endif

/* The set in flight arrives: committed, acknowledged again, or out of place. */
inline receive_set(d)
{
	if
	:: dev[d].number > srv.by[d].last && dev[d].prev == srv.by[d].last -> commit(d)
	:: else
	fi;
	if
	:: dev[d].number <= srv.by[d].last ->
		ack[d].heads[term] = ack[d].heads[term] | (1 << ACK_HEAD(d));
		ack[d].own[term] = srv.by[d].own
	:: else -> dev[d].ask_hello = 1
	fi
}

/* A new term starts; positions of older ones end below its first seq. */
inline restart()
{
	y = term;
	do
	:: srv.knows[y] -> break
	:: else -> y--
	od;
	term++;
	srv.knows[term] = 1;
	first[term] = srv.head + 1;
	sent_to[term] = srv.head;
	x = 0;
	do
	:: x <= srv.head ->
		i = 0;
		do
		:: i < NK ->
			WAS(term, x).k[i].alive = WAS(y, x).k[i].alive;
			WAS(term, x).k[i].v = WAS(y, x).k[i].v;
			i++
		:: else -> i = 0; break
		od;
		x++
	:: else -> x = 0; break
	od;
	y = 0
}

inline copy_store(to, from)
{
	i = 0;
	do
	:: i < NK ->
		to.k[i].e = from.k[i].e;
		to.k[i].alive = from.k[i].alive;
		to.k[i].c = from.k[i].c;
		to.k[i].v = from.k[i].v;
		to.seq[i] = from.seq[i];
		i++
	:: else -> i = 0; break
	od;
	do
	:: i < ND ->
		to.by[i].last = from.by[i].last;
		to.by[i].own = from.by[i].own;
		i++
	:: else -> i = 0; break
	od;
	do
	:: i <= NT -> to.knows[i] = from.knows[i]; i++
	:: else -> i = 0; break
	od;
	to.head = from.head
}

/* ---- questions ---- */

/* The device asks and the server answers; the answer is on its way. */
inline pull(d, small)
{
	dev[d].at_term = dev[d].term;
	dev[d].at_cursor = dev[d].cursor;
	dev[d].at_full = dev[d].fresh;
	dev[d].a_term = term;
	valid(dev[d].term, dev[d].cursor, dev[d].hold);
	if
	:: !x -> dev[d].ans = RESET
	:: else ->
		dev[d].ans = PAGE;
		dev[d].a_head = srv.head;
		dev[d].a_upto = srv.head;
		if /* two rows to send, and only the first of them fits */
		:: small && srv.seq[0] != srv.seq[1] && srv.seq[0] > dev[d].cursor &&
		   srv.seq[1] > dev[d].cursor ->
			dev[d].a_upto = (srv.seq[0] < srv.seq[1] -> srv.seq[0] : srv.seq[1])
		:: else
		fi;
		i = 0;
		do
		:: i < NK ->
			if
			:: srv.seq[i] > dev[d].cursor && srv.seq[i] <= dev[d].a_upto ->
				dev[d].page.k[i].kind = WHOLE;
				dev[d].page.k[i].e = srv.k[i].e;
				dev[d].page.k[i].alive = srv.k[i].alive;
				dev[d].page.k[i].c = srv.k[i].c;
				dev[d].page.k[i].v = srv.k[i].v
			:: else
			fi;
			i++
		:: else -> i = 0; break
		od
	fi;
	x = 0
}

inline drop_answer(d)
{
	dev[d].ans = 0;
	dev[d].at_term = 0;
	dev[d].at_cursor = 0;
	dev[d].at_full = 0;
	dev[d].a_term = 0;
	dev[d].a_upto = 0;
	dev[d].a_head = 0;
	i = 0;
	do
	:: i < NK ->
		dev[d].page.k[i].kind = 0;
		dev[d].page.k[i].e = 0;
		dev[d].page.k[i].alive = 0;
		dev[d].page.k[i].c = 0;
		dev[d].page.k[i].v = 0;
		i++
	:: else -> i = 0; break
	od
}

inline take_page(d)
{
	i = 0;
	do
	:: i < NK ->
		if
		:: dev[d].page.k[i].kind ->
			take_row(d, i, dev[d].page.k[i]);
			dev[d].seen[i] = (dev[d].fresh && dev[d].page.k[i].alive)
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od;
	assert(dev[d].a_upto >= dev[d].cursor);
	dev[d].cursor = dev[d].a_upto;
#ifndef NO_HOLD
	dev[d].hold = MAX(dev[d].hold, dev[d].a_head);
#endif
	if
	:: dev[d].fresh && dev[d].cursor >= dev[d].a_head ->
		do
		:: i < NK ->
			if
#ifndef NO_SWEEP
			:: !dev[d].seen[i] && !dev[d].k[i].me && dev[d].k[i].alive ->
				dev[d].k[i].alive = 0;
				dev[d].k[i].v = 0;
				dev[d].k[i].mc = 0;
				overtake(d)
#endif
			:: else
			fi;
			dev[d].seen[i] = 0;
			i++
		:: else -> i = 0; break
		od;
		dev[d].fresh = 0
	:: else
	fi
}

inline take_answer(d)
{
	if
	:: dev[d].at_term != dev[d].term || dev[d].at_cursor != dev[d].cursor ||
	   dev[d].at_full != dev[d].fresh
	:: else ->
		if
		:: dev[d].ans == RESET -> begin_full(d, dev[d].a_term)
		:: dev[d].ans == PAGE && dev[d].a_term != dev[d].term -> adopt(d, dev[d].a_term)
		:: else -> take_page(d)
		fi
	fi;
	drop_answer(d);
	check_place(d)
}

/* Asked and answered: where the device stands, and which of its sets was committed. */
inline hello(d)
{
	dev[d].ask_hello = 0;
	valid(dev[d].term, dev[d].cursor, dev[d].hold);
	if
	:: !x -> begin_full(d, term); dev[d].ask_hello = 0
	:: else ->
		if
		:: dev[d].term != term -> adopt(d, term)
		:: else
		fi
	fi;
	x = 0;
	drop_answer(d);
	dev[d].committed = srv.by[d].last;
	if
	:: dev[d].flying && dev[d].number <= srv.by[d].last ->
		dev[d].acked = 1;
		dev[d].ahead = srv.head;
		dev[d].own = 0
	:: dev[d].flying && dev[d].number > srv.by[d].last -> land(d)
	:: else
	fi;
	check_place(d)
}

#define NEXT(d) (dev[d].cursor + 1)
/* An own seq is passed without a message, unless a mark was overtaken since the cut (rule P5). */
#define STANDS_IN(d) (dev[d].own == NEXT(d) && !dev[d].overtaken)
/* The broadcast that follows the cursor was sent in the device's term; its own it is not given. */
#define HEARD(d) \
	(!dev[d].fresh && NEXT(d) > dev[d].hold && NEXT(d) <= sent_to[dev[d].term] && \
	 NEXT(d) >= first[dev[d].term] && BC(dev[d].term, NEXT(d)).origin != d)

inline take_broadcast(d)
{
	i = 0;
	do
	:: i < NK ->
		if
		:: BC(dev[d].term, NEXT(d)).rows.k[i].kind ->
			take_row(d, i, BC(dev[d].term, NEXT(d)).rows.k[i])
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od;
	dev[d].cursor++;
	check_place(d)
}

inline take_ack(d)
{
	/* Of several acks on their way any may come first. */
	dev[d].ahead = x;
	dev[d].acked = 1;
	dev[d].own = ack[d].own[dev[d].term];
	x = 0
}
#define HAS_ACK(d, h) (ack[d].heads[dev[d].term] & (1 << (h)))

#define EQUAL(d, i) \
	(dev[d].k[i].alive == srv.k[i].alive && (!srv.k[i].alive || dev[d].k[i].v == srv.k[i].v))
#define DONE(d) (!PENDING(d) && !dev[d].flying && EQUAL(d, 0) && EQUAL(d, 1))

#define BEHIND(d) \
	(dev[d].fresh || dev[d].term != term || dev[d].cursor < dev[d].hold || dev[d].cursor < srv.head)

proctype device_run(byte d)
{
end:
	do
	:: d_step { !healing && writes_left && !dev[d].k[0].alive -> write(d, 0, 0, 0); skip }
	:: d_step { !healing && writes_left && dev[d].k[0].alive -> write(d, 0, 1, 0); skip }
	:: d_step { !healing && writes_left && d == 0 && dev[d].k[0].alive -> write(d, 0, 1, 1); skip }
	:: d_step { !healing && writes_left && dev[d].k[0].alive -> write(d, 0, 2, 0); skip }
	:: d_step { !healing && writes_left && d == 0 && !dev[d].k[1].alive -> write(d, 1, 0, 0); skip }
	:: d_step { dev[d].ask_hello -> hello(d); skip }
	:: d_step { dev[d].ans -> take_answer(d); skip }
	:: d_step { !dev[d].ans && BEHIND(d) -> pull(d, 0); skip }
	:: d_step { !dev[d].ans && BEHIND(d) -> pull(d, 1); skip }
	:: d_step {
		PENDING(d) && !dev[d].flying && !dev[d].ask_hello && !dev[d].fresh &&
			dev[d].given < NS + 2 -> cut(d);
		skip
	}
	:: d_step {
		dev[d].flying && !dev[d].ask_hello && !dev[d].acked &&
			(!healing || dev[d].number > srv.by[d].last || !(ack[d].heads[term] & (1 << ACK_HEAD(d)))) -> receive_set(d);
		skip
	}
	:: dev[d].flying && !dev[d].acked && ack[d].heads[dev[d].term] ->
		if
		:: d_step { HAS_ACK(d, 0) && !dev[d].acked -> x = 0; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 1) && !dev[d].acked -> x = 1; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 2) && !dev[d].acked -> x = 2; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 3) && !dev[d].acked -> x = 3; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 4) && !dev[d].acked -> x = 4; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 5) && !dev[d].acked -> x = 5; take_ack(d); skip }
		:: d_step { HAS_ACK(d, 6) && !dev[d].acked -> x = 6; take_ack(d); skip }
		:: else
		fi
	:: d_step { MAY_SETTLE(d) -> settle(d); skip }
	:: d_step { dev[d].acked && STANDS_IN(d) && !dev[d].fresh && NEXT(d) > dev[d].hold -> dev[d].cursor++; check_place(d); skip }
	:: d_step { HEARD(d) -> take_broadcast(d); skip }
	:: d_step {
		!healing && crashes_left ->
			crashes_left--;
			drop_answer(d);
			dev[d].acked = 0;
			dev[d].own = 0;
			dev[d].ahead = 0;
			dev[d].overtaken = 0;
			dev[d].ask_hello = 1
	}
	od
}

init
{
	d_step {
		srv.knows[1] = 1;
		first[1] = 1;
		dev[0].term = 1;
		dev[1].term = 1;
		copy.knows[1] = 1;
#ifdef WARM
		/* Both ends have row 0 already: the writes begin with edits of it. */
		srv.head = 1;
		srv.seq[0] = 1;
		srv.k[0].e = STAMP(1, 0);
		srv.k[0].alive = 1;
		srv.k[0].c = STAMP(1, 0);
		srv.k[0].v = STAMP(1, 0);
		WAS(1, 1).k[0].alive = 1;
		WAS(1, 1).k[0].v = STAMP(1, 0);
		sent_to[1] = 1;
		first[1] = 2;
		do
		:: i < ND ->
			dev[i].cursor = 1;
			dev[i].clock = 1;
			dev[i].k[0].alive = 1;
			dev[i].k[0].v = STAMP(1, 0);
			i++
		:: else -> i = 0; break
		od;
#endif
		skip
	}
	run device_run(0);
	run device_run(1);
	do
	:: d_step { !healing && restarts_left -> restarts_left--; restart(); skip }
	:: d_step { !healing && restores_left && !copied -> copied = 1; copy_store(copy, srv); skip }
	:: d_step {
		!healing && restores_left && copied && copy.head < srv.head ->
			restores_left--;
			copy_store(srv, copy);
			restart();
			skip
	}
	:: d_step { !healing -> healing = 1; skip }
	:: healing && timeout -> break
	od;
	skip;
	d_step {
		assert(DONE(0));
		assert(DONE(1));
		done = 1
	}
}

/* Healing ends, whatever the order of its steps. */
ltl heals { [] (healing -> <> done) }
