/** One thing that applications do with a broker. */
interface Scenario {
    void run(Kit kit) throws Exception;
}
