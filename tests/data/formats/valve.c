/* Valves. */
#ifndef VALVE_H
#define VALVE_H

#include <stdint.h>
#include "pump.h"

#define VALVES 8
#define OPEN(v) \
    ((v)->state = 1)

typedef struct valve {
    uint8_t state; /* 0 is closed */
    struct valve *next;
} valve_t;

enum kind { BALL, GATE };

static const int table[] = {
    1, 2,
    3, 4,
};

int valve_open(valve_t *valve);

/* Closes it. */
static inline struct valve *valve_close(struct valve *valve)
{
    if (valve->next) {
        valve_close(valve->next);
    }
    valve->state = 0;
    return valve;
}

#ifdef __cplusplus
extern "C" {
#endif
void valve_reset(
    valve_t *valve);
#ifdef __cplusplus
}
#endif

#endif
