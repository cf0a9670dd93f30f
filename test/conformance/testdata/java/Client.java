import com.sun.security.jgss.ExtendedGSSContext;
import com.sun.security.jgss.ExtendedGSSCredential;
import com.sun.security.jgss.InquireType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.PrivilegedActionException;
import java.security.PrivilegedExceptionAction;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import javax.security.auth.Subject;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.NameCallback;
import javax.security.auth.callback.PasswordCallback;
import javax.security.auth.kerberos.EncryptionKey;
import javax.security.auth.kerberos.KerberosTicket;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import javax.security.auth.login.LoginContext;
import javax.security.auth.login.LoginException;
import org.ietf.jgss.GSSContext;
import org.ietf.jgss.GSSCredential;
import org.ietf.jgss.GSSException;
import org.ietf.jgss.GSSManager;
import org.ietf.jgss.GSSName;
import org.ietf.jgss.MessageProp;
import org.ietf.jgss.Oid;

/**
 * What Java programs do with Kerberos: JAAS logs in, GSS-API gets the service ticket and the
 * service reads it. Commands come on standard input, so that no password is an argument; each has
 * one line for an answer.
 *
 *   password NAME PASSWORD            logs in as a person
 *   keytab NAME FILE                  logs in as the service, which keeps its keys
 *   backend NAME FILE                 the same for another one, which the service uses
 *   connect SPN [delegate]            the person's context with the service
 *   again SPN                         the same with the TGT that came along
 *   impersonate NAME SPN              the service's context with the backend, for a person who is not here
 */
public class Client {
    private static final GSSManager manager = GSSManager.getInstance();
    private static Oid kerberos, principalName;
    private static Subject person, service, backend;
    private static GSSCredential delegated;

    public static void main(String[] args) throws Exception {
        kerberos = new Oid("1.2.840.113554.1.2.2");
        principalName = new Oid("1.2.840.113554.1.2.2.1");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" ");
            String answer;
            try {
                answer = command(words);
            } catch (LoginException e) {
                answer = "LoginException: " + e.getMessage();
            } catch (PrivilegedActionException e) {
                answer = "GSSException: " + e.getCause().getMessage();
            } catch (GSSException e) {
                answer = "GSSException: " + e.getMessage();
            }
            // The first two words say which command this answers.
            System.out.println(words[0] + " " + words[1] + ": " + answer);
        }
    }

    private static String command(String[] words) throws Exception {
        switch (words[0]) {
            case "password":
                person = login(Map.of("principal", words[1]), words[2].toCharArray());
                return tickets(person);
            case "keytab":
                return tickets(service = serviceLogin(words[1], words[2]));
            case "backend":
                return tickets(backend = serviceLogin(words[1], words[2]));
            case "connect":
                return connect(person, null, words[1], words.length > 2, service);
            case "again":
                return connect(new Subject(), delegated, words[1], false, service);
            case "impersonate": // S4U2Self, and with the first token S4U2Proxy
                GSSCredential other = Subject.doAs(service, (PrivilegedExceptionAction<GSSCredential>) () -> {
                    GSSCredential own = manager.createCredential(null, GSSCredential.DEFAULT_LIFETIME, kerberos, GSSCredential.INITIATE_ONLY);
                    return ((ExtendedGSSCredential) own).impersonate(manager.createName(words[1], principalName));
                });
                return connect(service, other, words[2], false, backend);
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static Subject serviceLogin(String name, String keytab) throws LoginException {
        return login(Map.of("principal", name, "keyTab", keytab, "useKeyTab", "true", "storeKey", "true", "isInitiator", "true"), null);
    }

    private static Subject login(Map<String, String> options, char[] password) throws LoginException {
        Map<String, Object> all = new HashMap<>(options);
        all.put("refreshKrb5Config", "true");
        Configuration jaas = new Configuration() {
            @Override
            public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
                return new AppConfigurationEntry[] {new AppConfigurationEntry("com.sun.security.auth.module.Krb5LoginModule",
                    AppConfigurationEntry.LoginModuleControlFlag.REQUIRED, all)};
            }
        };
        LoginContext c = new LoginContext("", null, callbacks -> {
            for (Callback cb : callbacks) {
                if (cb instanceof NameCallback) {
                    ((NameCallback) cb).setName(options.get("principal"));
                } else if (cb instanceof PasswordCallback) {
                    ((PasswordCallback) cb).setPassword(password);
                }
            }
        }, jaas);
        c.login();
        return c.getSubject();
    }

    private static String tickets(Subject s) {
        StringBuilder b = new StringBuilder();
        for (KerberosTicket t : s.getPrivateCredentials(KerberosTicket.class)) {
            b.append(t.getClient()).append(" has ").append(t.getServer()).append(" etype ").append(t.getSessionKeyType());
            b.append(t.isForwardable() ? " forwardable" : "").append(t.isInitial() ? " initial" : "");
        }
        return b.toString();
    }

    /** Lets an initiator and a service talk until both are sure of each other, and say a sentence each. */
    private static String connect(Subject who, GSSCredential with, String spn, boolean delegate, Subject at) throws Exception {
        GSSContext client = Subject.doAs(who, (PrivilegedExceptionAction<GSSContext>) () -> {
            GSSContext c = manager.createContext(manager.createName(spn, principalName), kerberos, with, GSSContext.DEFAULT_LIFETIME);
            c.requestMutualAuth(true);
            c.requestConf(true);
            c.requestInteg(true);
            c.requestCredDeleg(delegate);
            return c;
        });
        GSSContext server = Subject.doAs(at, (PrivilegedExceptionAction<GSSContext>) () -> manager.createContext(
            manager.createCredential(null, GSSCredential.DEFAULT_LIFETIME, kerberos, GSSCredential.ACCEPT_ONLY)));
        byte[] token = new byte[0];
        while (!client.isEstablished()) {
            byte[] in = token;
            byte[] out = Subject.doAs(who, (PrivilegedExceptionAction<byte[]>) () -> client.initSecContext(in, 0, in.length));
            if (out == null) {
                break;
            }
            token = Subject.doAs(at, (PrivilegedExceptionAction<byte[]>) () -> server.acceptSecContext(out, 0, out.length));
        }
        byte[] sentence = "Ave".getBytes(StandardCharsets.UTF_8);
        byte[] there = client.wrap(sentence, 0, sentence.length, new MessageProp(0, true));
        byte[] read = server.unwrap(there, 0, there.length, new MessageProp(0, true));
        byte[] back = server.wrap(read, 0, read.length, new MessageProp(0, true));
        byte[] echo = client.unwrap(back, 0, back.length, new MessageProp(0, true));
        delegated = server.getCredDelegState() ? server.getDelegCred() : null;
        GSSName src = server.getSrcName();
        EncryptionKey key = (EncryptionKey) ((ExtendedGSSContext) server).inquireSecContext(InquireType.KRB5_GET_SESSION_KEY_EX);
        return src + " is known to " + server.getTargName() + ", etype " + key.getKeyType() + (client.getMutualAuthState() ? ", mutual" : "")
            + (Arrays.equals(sentence, echo) ? ", heard" : ", misheard") + (delegated != null ? ", delegated" : "");
    }
}
