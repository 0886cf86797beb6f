/*
 * Copyright the harbour office.
 */
package org.example.harbour;

import java.util.List;

/** A harbour and its piers. */
public final class Harbour {
    private static final int PIERS = 4;
    private final List<Pier> piers;

    public Harbour(List<Pier> piers) {
        this.piers = piers;
    }

    /** The pier of a number. */
    @Override
    public Pier pier(int number) {
        switch (number) {
            case 0:
                throw new IllegalArgumentException();
            default:
                return piers.get(number);
        }
    }

    public enum State {
        OPEN, CLOSED;

        boolean isOpen() {
            return this == OPEN;
        }
    }

    record Pier(int number, State state) {}
}
