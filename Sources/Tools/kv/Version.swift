/// The version of all that is in this program: its commands, and the server.
enum Version {
  static let current = "0.1.0"
}
