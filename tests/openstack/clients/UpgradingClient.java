import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.ArrayList;
import java.util.List;

/** Posts JSON with the default HTTP client, which offers `Upgrade: h2c` on each new connection. */
public class UpgradingClient {
    private static final int CLIENTS = 50;

    /** Arguments: the URL, and how many requests are sent. */
    public static void main(String[] arguments) throws Exception {
        URI url = URI.create(arguments[0]);
        int requests = Integer.parseInt(arguments[1]);
        var pool = Executors.newFixedThreadPool(4);
        List<Future<Integer>> all = new ArrayList<>();
        for (int number = 0; number < CLIENTS; number++) {
            all.add(pool.submit(() -> post(url, requests / CLIENTS)));
        }
        int answered = 0;
        for (Future<Integer> each : all) {
            answered += each.get();
        }
        pool.shutdown();
        System.out.println("answered " + answered);
    }

    /** One client with connections of its own; says how many requests got a 200. */
    private static int post(URI url, int requests) {
        HttpClient client = HttpClient.newHttpClient();
        int answered = 0;
        for (int number = 0; number < requests; number++) {
            String body = "{\"metadata\": {\"key\": \"" + number + "\"}}";
            HttpRequest request = HttpRequest.newBuilder(url)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
            try {
                var response = client.send(request, HttpResponse.BodyHandlers.ofString());
                answered += response.statusCode() == 200 ? 1 : 0;
            } catch (Exception error) {
                System.err.println(error);
            }
        }
        return answered;
    }
}
