/**
 * Runs scenarios of Java clients against a broker: BROKER PREFIX SCENARIO...
 *
 * <p>Every line printed is something the broker decided, without ids, times or addresses, so that the output with one broker can be compared with
 * that of another. Standard error says how long each scenario took.
 *
 * <p>A scenario is a class of its name. Those that only newer clients can run are classes of their own, so that the others compile with older ones.
 */
public final class Main {
    public static void main(String[] args) throws Exception {
        boolean failed = false;
        for (int i = 2; i < args.length; i++) {
            System.out.println("== " + args[i]);
            long began = System.nanoTime();
            try (Kit kit = new Kit(args[0], args[1] + "-" + args[i].toLowerCase())) {
                ((Scenario) Class.forName(args[i]).getDeclaredConstructor().newInstance()).run(kit);
            } catch (Throwable e) {
                failed = true;
                report(e);
            }
            System.err.printf("%s took %d ms%n", args[i], (System.nanoTime() - began) / 1_000_000);
        }
        System.exit(failed ? 1 : 0);
    }

    private static void report(Throwable e) {
        System.out.println("failed: " + Kit.name(e));
        e.printStackTrace();
    }
}
