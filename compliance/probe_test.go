package compliance
import ("testing";"fmt";"sort";"github.com/nyaruka/phonenumbers")
func TestProbe(t *testing.T){
 multi:=map[int][]string{}
 for npa:=200;npa<1000;npa++{
  set:=map[string]bool{}
  for nxx:=0;nxx<1000;nxx++{
   z,_:=phonenumbers.GetTimezonesForPrefix(fmt.Sprintf("+1%03d%03d",npa,nxx))
   for _,s:=range z{set[s]=true}
  }
  var l []string; for s:=range set{l=append(l,s)}; sort.Strings(l)
  if len(l)>1 {multi[npa]=l; if len(l)>6 {l=l[:6]}; fmt.Println(npa,len(set),l)}
 }
 for _,p:=range []string{"+617","+61740310000","+61412345678","+61812345678","+33612345678","+49151234567","+7912","+5511","+15005550000","+34928123456","+34612345678","+262692","+4479","+521","+8613","+62812","+351912345678"}{
  z,e:=phonenumbers.GetTimezonesForPrefix(p); fmt.Println(p,z,e)
 }
}
