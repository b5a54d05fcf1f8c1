import ArgumentParser
import KVClient

/// What a write to a leaderless shard replaces.
struct SeenContext: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Of a leaderless shard: replace what that read has seen, and nothing else (context in kv get --json).",
      valueName: "context"),
    transform: { text in
      guard let context = KVContext(text) else {
        throw ValidationError("that is no context: kv get --json says it")
      }
      return context
    })
  var context: KVContext?
}
