/*
 * The session, for the model checker spin: measured guests, one honest participant, and everybody else against them.
 *
 * machine.py says what a guest does in each state; here stands what follows from it when the host and the other
 * participant do their worst, in every order there is. The table below is written from machine.py by
 * `python -m tools.session_model`; what is around it follows session.py, locked.py and, for the honest participant,
 * the rules of twocvm_sdk/release.py and ledger.py. By hand, for one launch and then for two:
 *
 *     spin -a session.pml              && cc -O1 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *     spin -DLAUNCHES=2 -a session.pml && cc -O1 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *
 * and after an error `./pan -r` prints the way to it, and last the property that broke.
 *
 * Who is there.
 *   Launch    a measured guest from its start to its end. One is modelled in full; two, side by side or one after the
 *             other, without what comes after the run has begun, which no other launch can touch.
 *   Honest    a participant with our SDK and its ledger. Its process may end and begin anew after every step.
 *   The host and the other participant, as one attacker, have no process: whatever a guest leaves open is their choice.
 *             They lock guests, also to a manifest that names themselves alone; give goes, two different ones too, and
 *             withdraw when they like; say again, to any guest and on any connection, whatever the honest participant
 *             has ever sent; let what it sends arrive late, twice, in another order or never; let nodes and filters
 *             fail; move the clock to the deadline; halt a guest, or kill it between any two steps.
 *   Watch     sees every state, and stops the search in one that breaks a property.
 *
 * What is taken for granted. Signatures and digests are not forged. An attested connection shows the true state of one
 * launch: the handshake is no part of this model. TLS client keys prove nothing here, so agreement rests on consent
 * keys alone. Left out: more than one item each, a third launch, time in seconds.
 */

#define HONEST 0
#define OTHER 1
#ifndef LAUNCHES
#define LAUNCHES 1
#endif
#define OURS 0              /* the manifest that both signed, with one item of each */
#define THEIRS 1            /* one that names the attacker alone, with one item */
#define cannot_come_about false
#define G guest[g]          /* the launch that a step is about */

/* begin table */
mtype = { unlocked, locked, collecting, running, filtering, completed, withdrawn, expired, failed, wiped,
       moves, stays, ITEM_ADMITTED, LOCKED_ALREADY, NOT_LOCKED, OUTPUTS_NOT_READY, RECEIPT_NOT_READY,
       ROSTER_INCOMPLETE, SESSION_ENDED, TOO_LATE }

inline on_lock() {
    if
    :: G.state == unlocked -> G.state = locked; answer = moves
    :: G.state == locked || G.state == collecting || G.state == running || G.state == filtering ||
       G.state == completed || G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> answer = LOCKED_ALREADY
    fi
}

inline on_relock() {
    if
    :: G.state == unlocked -> assert(cannot_come_about)
    :: G.state == locked || G.state == collecting || G.state == running || G.state == filtering ||
       G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed -> answer = stays
    :: G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_read() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked || G.state == collecting || G.state == running || G.state == filtering ||
       G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed -> answer = stays
    :: G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_go() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked || G.state == collecting -> answer = stays
    :: G.state == running || G.state == filtering || G.state == completed -> answer = TOO_LATE
    :: G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_roster() {
    if
    :: G.state == unlocked || G.state == collecting || G.state == running || G.state == filtering ||
       G.state == completed || G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> assert(cannot_come_about)
    :: G.state == locked -> G.state = collecting; answer = moves
    fi
}

inline on_item() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked -> answer = ROSTER_INCOMPLETE
    :: G.state == collecting -> answer = stays
    :: G.state == running || G.state == filtering || G.state == completed -> answer = ITEM_ADMITTED
    :: G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_run() {
    if
    :: G.state == unlocked || G.state == locked || G.state == running || G.state == filtering ||
       G.state == completed || G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> assert(cannot_come_about)
    :: G.state == collecting -> G.state = running; answer = moves
    fi
}

inline on_withdraw() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked || G.state == collecting -> G.state = withdrawn; answer = moves
    :: G.state == running || G.state == filtering || G.state == completed -> answer = TOO_LATE
    :: G.state == withdrawn -> answer = stays
    :: G.state == expired || G.state == failed || G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_ran() {
    if
    :: G.state == unlocked || G.state == locked || G.state == collecting || G.state == filtering ||
       G.state == completed || G.state == withdrawn -> assert(cannot_come_about)
    :: G.state == running -> G.state = filtering; answer = moves
    :: G.state == expired || G.state == failed || G.state == wiped -> answer = stays
    fi
}

inline on_sealed() {
    if
    :: G.state == unlocked || G.state == locked || G.state == collecting || G.state == running ||
       G.state == completed || G.state == withdrawn -> assert(cannot_come_about)
    :: G.state == filtering -> G.state = completed; answer = moves
    :: G.state == expired || G.state == failed || G.state == wiped -> answer = stays
    fi
}

inline on_fail() {
    if
    :: G.state == unlocked || G.state == locked || G.state == collecting || G.state == completed ||
       G.state == withdrawn -> assert(cannot_come_about)
    :: G.state == running || G.state == filtering -> G.state = failed; answer = moves
    :: G.state == expired || G.state == failed || G.state == wiped -> answer = stays
    fi
}

inline on_deadline() {
    if
    :: G.state == unlocked || G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed || G.state == wiped -> answer = stays
    :: G.state == locked || G.state == collecting || G.state == running ||
       G.state == filtering -> G.state = expired; answer = moves
    fi
}

inline on_output() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked || G.state == collecting || G.state == running ||
       G.state == filtering -> answer = OUTPUTS_NOT_READY
    :: G.state == completed -> answer = stays
    :: G.state == withdrawn || G.state == expired || G.state == failed ||
       G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_receipt() {
    if
    :: G.state == unlocked -> answer = NOT_LOCKED
    :: G.state == locked || G.state == collecting || G.state == running ||
       G.state == filtering -> answer = RECEIPT_NOT_READY
    :: G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed -> answer = stays
    :: G.state == wiped -> answer = SESSION_ENDED
    fi
}

inline on_settle() {
    if
    :: G.state == unlocked || G.state == locked || G.state == collecting || G.state == running ||
       G.state == filtering -> assert(cannot_come_about)
    :: G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed -> G.state = wiped; answer = moves
    :: G.state == wiped -> answer = stays
    fi
}

inline on_halt() {
    if
    :: G.state == unlocked || G.state == locked || G.state == collecting || G.state == running ||
       G.state == filtering || G.state == completed || G.state == withdrawn || G.state == expired ||
       G.state == failed -> G.state = wiped; answer = moves
    :: G.state == wiped -> answer = stays
    fi
}
/* end table */

/* What an input gave: `moves`, `stays` or the code of a refusal. Read in the step that set it, and never after. */
hidden mtype answer
hidden mtype before

mtype = { idle, nodes, filters, broken, done }

typedef Guest {
    bool killed;
    mtype state = unlocked;
    bit manifest;
    mtype work = idle;      /* the thread of the run */
    bool due;               /* what the last transition asks for is not done yet (LockedGuest._follow) */
    bool asked;             /* a withdrawal is taken, and not answered yet */
    bool arriving[2];       /* by participant: its item is on its way, */
    bool admitted[2];       /* or admitted for ever */
    bool items;             /* the vault holds items, */
    bool outputs;           /* or outputs */
    bool owed;              /* somebody has still to acknowledge an output */

    /* The event log. */
    byte locks;
    byte go[2];             /* by participant: 0 for none, else what it commits to */
    bool roster;
    byte runs;
    byte withdrawals;
    byte ends;

    /* What was seen from outside, for the properties alone. */
    bool said_withdrawn;
    bool said_too_late;
    bool early;             /* a receipt was given before the end event, or an output before all were sealed */
    bool late;              /* something was given after the wipe, or logged after the end */
    bool went_back;
    bool forged;            /* a statement counted that its participant has not signed for this launch */
}
Guest guest[LAUNCHES]

/* The honest participant. All of this is on its disk, or was handed to the network. */
bool consented
bool ledger[2]              /* launches that it has written down, */
bool again                  /* and its owner's word for a second one */
bool sent_go[2]
bool sent_item[LAUNCHES]
bool sent_withdrawal[LAUNCHES]
byte relied_on[LAUNCHES]    /* the other participant's go in the roster that it has verified */
bool released_blindly       /* its item left without a complete roster of this launch under its manifest */

#define ENDED(x) (x.state == completed || x.state == withdrawn || x.state == expired || x.state == failed)
#define KEEPS_DATA(x) (x.state == completed && x.owed || !ENDED(x) && x.state != wiped)
#define HAS_DATA(x) (x.items || x.outputs || x.arriving[HONEST] || x.arriving[OTHER])
#define NAMES(x, who) (who == OTHER || x.manifest == OURS)
#define EVERY_GO(x) (x.go[OTHER] != 0 && (!NAMES(x, HONEST) || x.go[HONEST] != 0))
#define EVERY_ITEM(x) (x.admitted[OTHER] && (!NAMES(x, HONEST) || x.admitted[HONEST]))
#define NOT_STARTED(x) (x.runs == 0 && x.withdrawals == 0 && x.ends == 0)
/* Outcomes have one rank, so that none follows another. */
#define RANK(s) ((s == locked) + 2 * (s == collecting) + 3 * (s == running) + 4 * (s == filtering) + \
    5 * (s == completed || s == withdrawn || s == expired || s == failed) + 6 * (s == wiped))

inline log_event() { G.late = G.late || G.ends > 0 }

inline log_end() { log_event(); G.ends++ }

inline serve() { G.late = G.late || G.state == wiped || G.killed }

/* Agent.lock */
inline lock(m) {
    if
    :: G.state != unlocked && G.manifest == m -> on_relock()
    :: else -> on_lock()
    fi;
    if
    :: answer == moves -> G.manifest = m; G.locks++
    :: answer == stays -> serve()
    :: else
    fi
}

/* Session._run_when_complete */
inline run_when_complete() {
    if
    :: EVERY_ITEM(G) -> on_run(); log_event(); G.runs++
    :: else
    fi
}

/* Session.join: a go of `who` for `launch`, which commits to `what`. */
inline join(who, launch, what) {
    if
    :: launch == g && NAMES(G, who) ->
        if
        :: G.go[who] == what -> on_read()
        :: else -> on_go()
        fi;
        if
        :: answer == stays && G.go[who] == what -> serve()
        :: answer == stays && G.go[who] == 0 ->
            G.forged = G.forged || who == HONEST && !sent_go[g];
            G.go[who] = what;
            log_event();
            serve();
            if
            :: EVERY_GO(G) ->
                on_roster();
                G.roster = true;
                log_event();
                run_when_complete()
            :: else
            fi
        :: else
        fi;
        G.due = true
    :: else
    fi
}

/* Session.begin_item, of what its owner's go commits to */
inline begin_item(who) {
    on_item();
    if
    :: answer == stays && NAMES(G, who) && !G.arriving[who] && !G.admitted[who] -> G.arriving[who] = true
    :: else
    fi
}

/* LockedGuest.admit */
inline admit_item(who) {
    G.arriving[who] = false;
    on_item();
    if
    :: answer == stays ->
        G.admitted[who] = true;
        G.items = true;
        log_event();
        run_when_complete()
    :: else
    fi;
    G.due = true
}

/* Session.withdraw: a withdrawal of `who` from `launch` */
inline withdraw(who, launch) {
    if
    :: launch == g && NAMES(G, who) ->
        on_withdraw();
        if
        :: answer == moves ->
            G.forged = G.forged || who == HONEST && !sent_withdrawal[g];
            log_event();
            G.withdrawals++;
            log_end();
            G.asked = true
        :: answer == stays -> G.asked = true
        :: answer == TOO_LATE -> G.said_too_late = true
        :: else
        fi;
        G.due = true
    :: else
    fi
}

/* What nobody can ask for any more is set to zero, so that dead launches are all alike. */
inline forget() {
    G.manifest = 0;
    G.work = idle;
    G.asked = false;
    G.arriving[HONEST] = false;
    G.arriving[OTHER] = false;
    G.admitted[HONEST] = false;
    G.admitted[OTHER] = false;
    G.items = false;
    G.outputs = false;
    G.owed = false;
    G.locks = 0;
    G.go[HONEST] = 0;
    G.go[OTHER] = 0;
    G.roster = false;
    G.runs = 0;
    G.withdrawals = 0;
    G.ends = 0;
    G.said_withdrawn = false;
    G.said_too_late = false
}

/* LockedGuest._follow, and then the answer to a withdrawal */
inline follow() {
    if
    :: G.state == running && G.work == idle -> G.work = nodes
    :: else
    fi;
    if
    :: !KEEPS_DATA(G) ->
        G.items = false;
        G.outputs = false;
        G.arriving[HONEST] = false;
        G.arriving[OTHER] = false
    :: else
    fi;
    G.said_withdrawn = G.said_withdrawn || G.asked;
    G.asked = false;
    G.due = false;
    if
    :: G.state == wiped && (G.work == idle || G.work == done) -> forget()
    :: else
    fi
}

/* LockedGuest._complete, its first half */
inline nodes_ran() {
    on_ran();
    if
    :: answer == moves -> G.work = filters
    :: else -> G.work = broken
    fi
}

/* LockedGuest._complete, its second half */
inline seal_outputs() {
    G.items = false;
    G.outputs = true;
    on_sealed();
    if
    :: answer == moves -> G.owed = true; log_end(); G.work = done
    :: else -> G.work = broken
    fi;
    G.due = true
}

/* LockedGuest._run, where it did not complete */
inline run_failed() {
    on_fail();
    if
    :: answer == moves -> log_end()
    :: else
    fi;
    G.work = done;
    G.due = true
}

/* Session.advance, at the deadline */
inline deadline() {
    G.owed = false;
    on_deadline();
    if
    :: answer == moves -> log_end()
    :: else
    fi;
    G.due = true
}

inline read() {
    on_read();
    if
    :: answer == stays -> serve()
    :: else
    fi
}

inline output() {
    on_output();
    if
    :: answer == stays && KEEPS_DATA(G) -> serve(); G.early = G.early || G.state != completed || G.ends == 0
    :: else
    fi
}

inline acknowledge() {
    on_output();
    if
    :: answer == stays -> serve(); G.owed = false
    :: else
    fi;
    G.due = true
}

inline receipt() {
    on_receipt();
    if
    :: answer == stays -> serve(); G.early = G.early || G.ends == 0
    :: else
    fi
}

/* The host takes the machine away: what it held is gone, and what it said stays said. */
inline kill() {
    forget();
    G.killed = true;
    G.state = wiped;
    G.due = false
}

/* Of two launches, each does at once what a transition asks for. */
#if LAUNCHES == 1
#define AFTERWARDS
#else
#define AFTERWARDS ; follow()
#endif

/* One transition of a guest, under its mutex. */
#define STEP(when, what) :: d_step { !G.killed && (when) -> before = G.state; what; \
    G.went_back = G.went_back || G.state != before && RANK(G.state) <= RANK(before) AFTERWARDS }

proctype Launch(bit g) {
end:
    do
    STEP(consented, lock(OURS))
    STEP(true, lock(THEIRS))
    STEP(true, join(OTHER, g, 1))
    STEP(true, join(OTHER, g, 2))
    STEP(sent_go[g], join(HONEST, g, 1))
    STEP(sent_item[g], begin_item(HONEST))
    STEP(true, begin_item(OTHER))
    STEP(G.arriving[HONEST], admit_item(HONEST))
    STEP(G.arriving[OTHER], admit_item(OTHER))
    STEP(G.arriving[HONEST], G.arriving[HONEST] = false)
    STEP(G.arriving[OTHER], G.arriving[OTHER] = false)
    STEP(sent_withdrawal[g], withdraw(HONEST, g))
    STEP(true, withdraw(OTHER, g))
    STEP(true, on_halt(); G.due = true)
    STEP(true, kill())
#if LAUNCHES == 1
    STEP(G.due, follow())
    STEP(G.work == nodes, nodes_ran())
    STEP(G.work == nodes, G.work = broken)
    STEP(G.work == filters, seal_outputs())
    STEP(G.work == filters, G.work = broken)
    STEP(G.work == broken, run_failed())
    STEP(true, read())
    STEP(true, output())
    STEP(true, acknowledge())
    STEP(true, receipt())
    STEP(G.state != unlocked, deadline())
    STEP(ENDED(G) && !KEEPS_DATA(G), on_settle(); G.due = true)
#else
    STEP(sent_go[1 - g], join(HONEST, 1 - g, 1))
    STEP(sent_withdrawal[1 - g], withdraw(HONEST, 1 - g))
#endif
    od
}

/* What an honest participant sees on an attested connection. */
#define PROVEN(x) (!x.killed && x.state != unlocked && x.state != wiped && x.manifest == OURS)

proctype Honest() {
    bit g;
    consented = true;
start:
    g = 0;
    if
#if LAUNCHES == 2
    :: g = 1
#endif
    :: skip
    :: d_step { !again -> again = true } goto start
    fi;
    /* Participant.connect */
    if
    :: PROVEN(G)
    :: goto start
    fi;
    if
    :: PROVEN(G) -> sent_withdrawal[g] = true; goto start
    :: skip
    fi;
    /* Releaser._give_go */
    if
    :: d_step { PROVEN(G) && (G.go[HONEST] != 0 || NOT_STARTED(G)) && (G.go[HONEST] == 0 || ledger[g]) &&
                (ledger[g] || again || !ledger[1 - g]) -> ledger[g] = true }
    :: goto start
    fi;
    if
    :: sent_go[g] = true
    :: goto start
    fi;
    /* Releaser._roster and Releaser._bind */
    if
    :: d_step { PROVEN(G) && G.roster && NOT_STARTED(G) -> relied_on[g] = G.go[OTHER] }
    :: goto start
    fi;
    /* Releaser._send */
    if
    :: d_step { PROVEN(G) && NOT_STARTED(G) ->
            sent_item[g] = true;
            released_blindly = released_blindly || !(G.roster && EVERY_GO(G) && G.manifest == OURS) }
    :: skip
    fi;
    goto start
}

/* The properties, each of a launch x with the number i. */
#define ONE_LOCK(x, i) (x.locks <= 1 && (x.locks == 0 || x.manifest == THEIRS || consented))
#define ONE_RUN(x, i) (x.runs <= 1)
#define ONE_OUTCOME(x, i) (x.ends <= 1)
#define NO_WAY_BACK(x, i) (!x.went_back)
#define RUN_IS_AGREED(x, i) (x.runs == 0 || EVERY_GO(x) && EVERY_ITEM(x) && \
    (!NAMES(x, HONEST) || sent_go[i] && sent_item[i] && relied_on[i] == x.go[OTHER]))
#define RUN_OR_WITHDRAWAL(x, i) (x.runs + x.withdrawals <= 1 && !(x.said_withdrawn && x.said_too_late))
#define WITHDRAWN_IS_TRUE(x, i) (!x.said_withdrawn || x.runs == 0 && !HAS_DATA(x))
#define TOO_LATE_IS_TRUE(x, i) (!x.said_too_late || x.runs == 1)
#define ITEMS_AFTER_ROSTER(x, i) (x.roster || !HAS_DATA(x))
#define DATA_IS_GONE(x, i) (KEEPS_DATA(x) || x.due || !HAS_DATA(x))
#define NOTHING_EARLY(x, i) (!x.early)
#define NOTHING_LATE(x, i) (!x.late)
#define NOTHING_FORGED(x, i) (!x.forged)
#define RELEASE_AFTER_ROSTER(x, i) (!released_blindly)
#define AGAIN_BY_WORD(x, i) (again || !(sent_go[i] && sent_go[1 - i]))

#if LAUNCHES == 1
#define EACH(property) property(guest[0], 0)
#else
#define EACH(property) (property(guest[0], 0) && property(guest[1], 1))
#endif
#define ALWAYS(property) :: !EACH(property) -> printf(#property); assert(false)

proctype Watch() {
end:
    if
    ALWAYS(ONE_LOCK)
    ALWAYS(ONE_RUN)
    ALWAYS(ONE_OUTCOME)
    ALWAYS(NO_WAY_BACK)
    ALWAYS(RUN_IS_AGREED)
    ALWAYS(RUN_OR_WITHDRAWAL)
    ALWAYS(WITHDRAWN_IS_TRUE)
    ALWAYS(TOO_LATE_IS_TRUE)
    ALWAYS(ITEMS_AFTER_ROSTER)
    ALWAYS(DATA_IS_GONE)
    ALWAYS(NOTHING_EARLY)
    ALWAYS(NOTHING_LATE)
    ALWAYS(NOTHING_FORGED)
    ALWAYS(RELEASE_AFTER_ROSTER)
    ALWAYS(AGAIN_BY_WORD)
    fi
}

#if LAUNCHES == 1
init { atomic { run Watch(); run Honest(); run Launch(0) } }
#else
init { atomic { run Watch(); run Honest(); run Launch(0); run Launch(1) } }
#endif
