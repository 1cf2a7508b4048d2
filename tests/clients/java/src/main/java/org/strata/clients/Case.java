/**
 * One case: its name, how long it may take, and what it does.
 * Owns nothing else; cases are listed by the classes that hold them and run by Suite.
 */
package org.strata.clients;

record Case(String name, int limitSeconds, Body body) {
    /** Cases that wait for no broker timer end well within this, also beside a build on the same cores. */
    static final int USUAL_SECONDS = 60;

    /** What a case does; anything it throws is its failure. */
    interface Body {
        void run(Stage stage) throws Exception;
    }

    static Case of(String name, Body body) {
        return new Case(name, USUAL_SECONDS, body);
    }
}
